# Reference values for models/counts. Run in this folder: Rscript make_counts.R
# Reads nothing; writes counts.csv (simulated, no patient), counts_values.csv and counts_versions.txt.
#
# Rates: MASS::glm.nb and glm(quasipoisson). Errors of fixed weights: sandwich::vcovCL (theta taken as known, which the
# notes of sandwich say), and the infinitesimal jackknife by brute force, refitting everything (propensity, theta, both
# rates) with each cluster's case weight moved a little up and down. Two-part: glm(binomial), glm(Gamma("log")).
suppressPackageStartupMessages({library(MASS); library(sandwich)})
options(warn = 2, digits = 17)
set.seed(20261124)
values <- data.frame(data = character(), quantity = character(), value = numeric())
keep <- function(data, quantity, value) values[nrow(values) + 1, ] <<- list(data, quantity, unname(value))

# 300 persons, 40 of them with two rows; a rate of one's own; people are seen for different times
n <- 340
d <- data.frame(person = c(1:300, 1:40), x1 = round(rnorm(n), 4), x2 = rbinom(n, 1, 0.4))
d$treated <- as.numeric((runif(300) < plogis(-1 + 0.5 * d$x1[1:300] + 0.6 * d$x2[1:300]))[d$person])
d$years <- round(ifelse(runif(n) < 0.3, runif(n, 0.05, 1), 1), 4)
own <- rgamma(300, 1.5, 1.5)[d$person]
d$n <- rpois(n, own * d$years * exp(0.3 * d$x1 + 0.3 * d$x2 - 0.2 * d$treated))
d$flat <- rbinom(n, 1, pmin(0.3 * d$years, 1))                       # less than Poisson variance
d$days <- ifelse(runif(n) < plogis(-0.3 + 0.4 * d$x1 - 0.4 * d$treated),
                 round(rgamma(n, 2, 2 / exp(2.5 + 0.3 * d$x2 - 0.2 * d$treated)) + 0.5, 2), 0)

# matched sets: each treated row with one to three controls, in the order of the rows
d$set <- -1; d$matched <- 0
free <- which(d$treated == 0)
for (i in which(d$treated == 1)) {
  k <- min(sample(1:3, 1), length(free))
  if (k == 0) next
  take <- free[seq_len(k)]; free <- free[-seq_len(k)]
  d$set[c(i, take)] <- i; d$matched[i] <- 1; d$matched[take] <- 1 / k
}
propensity <- function(case) fitted(glm(treated ~ x1 + x2, data = d, weights = case, family = quasibinomial(),
                                        control = glm.control(epsilon = 1e-14, maxit = 100)))
weights_of <- function(estimand) function(case) {
  if (estimand == "matched") return(d$matched)
  e <- propensity(case)
  if (estimand == "att") ifelse(d$treated == 1, 1, e / (1 - e)) else ifelse(d$treated == 1, 1 / e, 1 / (1 - e))
}
d$score <- propensity(rep(1, n))
for (estimand in c("att", "ate")) d[[paste0("weight_", estimand)]] <- weights_of(estimand)(rep(1, n))
write.csv(d, "counts.csv", row.names = FALSE)

joined <- d$set                                                       # sets that share a person become one cluster
joined[joined < 0] <- NA
repeat {
  before <- joined
  joined <- ave(joined, d$person, FUN = function(x) if (all(is.na(x))) x else min(x, na.rm = TRUE))
  joined <- ave(joined, ifelse(d$set < 0, -seq_len(n), d$set), FUN = function(x) if (all(is.na(x))) x else min(x, na.rm = TRUE))
  if (identical(joined, before)) break
}
jackknife <- function(estimate, clusters, step = 1e-4) {
  slopes <- sapply(unique(clusters), function(one) {
    here <- clusters == one
    (estimate(1 + step * here) - estimate(1 - step * here)) / (2 * step)
  })
  sqrt(rowSums(slopes^2))
}
control <- glm.control(epsilon = 1e-14, maxit = 200)
# glm.nb's own alternation stops early; its likelihood is maximised here to the end, starting from it
rates_nb <- function(y, w) {
  here <- w > 0
  fit <- suppressWarnings(glm.nb(y ~ treated + offset(log(years)), data = cbind(d, y = y)[here, ], weights = w[here],
                                 control = glm.control(epsilon = 1e-12, maxit = 200)))
  theta <- fit$theta
  for (i in 1:200) {
    fit <- glm(y ~ treated + offset(log(years)), data = cbind(d, y = y)[here, ], weights = w[here],
               family = negative.binomial(theta), control = control)
    new <- suppressWarnings(theta.ml(y[here], fitted(fit), weights = w[here], eps = 1e-14, limit = 200))
    if (abs(log(new / theta)) < 1e-12) break
    theta <- as.numeric(new)
  }
  b <- coef(fit)
  c(difference = exp(b[[1]] + b[[2]]) - exp(b[[1]]), ratio = b[[2]], theta = log(theta))
}
rates_pois <- function(y, w) {
  fit <- glm(y ~ treated + offset(log(years)), data = cbind(d, y = y), weights = w, family = quasipoisson(), control = control)
  b <- coef(fit)
  c(difference = exp(b[[1]] + b[[2]]) - exp(b[[1]]), ratio = b[[2]])
}
two_part <- function(w, case, estimand) {
  mean_of <- function(arm) {
    rows <- d[w > 0, ]; wt <- w[w > 0]; cs <- case[w > 0]
    here <- rows$treated == arm
    target <- if (estimand == "ate") rep(TRUE, nrow(rows)) else rows$treated == 1
    v <- cs * wt * here
    if (estimand != "ate" && arm == 1) return(sum(v * rows$days) / sum(v))
    any <- glm(as.numeric(days > 0) ~ x1 + x2, data = rows[here, ], weights = (cs * wt)[here], family = quasibinomial(), control = control)
    some <- here & rows$days > 0
    much <- glm(days ~ x1 + x2, data = rows[some, ], weights = (cs * wt)[some], family = Gamma("log"), control = control)
    m <- predict(any, rows, type = "response") * predict(much, rows, type = "response")
    sum((cs * m)[target]) / sum(cs[target]) + sum(v * (rows$days - m)) / sum(v)
  }
  m <- c(mean_of(1), mean_of(0))
  c(difference = m[1] - m[2], ratio = log(m[1] / m[2]))
}
for (estimand in c("matched", "att", "ate")) {
  make <- weights_of(estimand); w <- make(rep(1, n))
  cluster <- if (estimand == "matched") ifelse(is.na(joined), -d$person, joined) else d$person
  used <- cluster %in% cluster[w > 0]
  g <- length(unique(cluster[w > 0]))
  factor <- if (estimand == "matched") sqrt(g / (g - 1)) else 1
  cluster[!used] <- -9999                                             # moves nothing
  for (method in c("nb", "pois", "two_part")) {
    at <- switch(method,
      nb = function(case) rates_nb(d$n, make(case) * case), pois = function(case) rates_pois(d$n, make(case) * case),
      two_part = function(case) two_part(make(case), case, estimand))
    found <- at(rep(1, n))
    error <- jackknife(at, cluster) * factor
    for (what in names(found)) {
      keep(estimand, paste(method, what, "value"), if (what %in% c("ratio", "theta")) exp(found[[what]]) else found[[what]])
      keep(estimand, paste(method, what, "std_error"), error[[which(names(found) == what)]])
    }
  }
  # weights as fixed and theta as known, the sandwich of the package
  rows <- d[w > 0, ]; rows$w <- w[w > 0]
  theta <- exp(rates_nb(d$n, w)[["theta"]])
  fit <- glm(n ~ treated + offset(log(years)), data = rows, weights = w, family = negative.binomial(theta), control = control)
  keep(estimand, "nb fixed sandwich", sqrt(vcovCL(fit, cluster = cluster[w > 0], type = "HC0", cadjust = estimand == "matched")[2, 2]))
  fit <- glm(n ~ treated + offset(log(years)), data = rows, weights = w, family = quasipoisson(), control = control)
  keep(estimand, "pois fixed sandwich", sqrt(vcovCL(fit, cluster = cluster[w > 0], type = "HC0", cadjust = estimand == "matched")[2, 2]))
}
write.csv(values, "counts_values.csv", row.names = FALSE)
writeLines(c(R.version.string, paste("MASS", packageVersion("MASS")), paste("sandwich", packageVersion("sandwich"))), "counts_versions.txt")
