# Reference weights and standard errors for models/weighting and models/estimated_weights.py. Run in this folder:
# Rscript make_weights.R. Reads ../effects/weighted.csv (simulated, no patient); writes weights.csv, values.csv and
# versions.txt.
#
# Entropy balancing is survey::calibrate with raking (Deville & Saerndal 1992: the same dual). No package in Debian gives
# the error of these weights, so it is the infinitesimal jackknife by brute force: everything is refitted with each
# person's case weight moved a little up and down.
suppressPackageStartupMessages(library(survey))
options(warn = 2, digits = 17)

people <- read.csv("../effects/weighted.csv")
n <- nrow(people)
treated <- people$treated == 1
sites <- outer(people$site, 0:2, "==") * 1
columns <- list(plain = cbind(1, people$x1, people$x2), by_site = cbind(sites, people$x1, people$x2))

propensity <- function(case) {
  fit <- glm(treated ~ x1 + x2, data = people, weights = case, family = quasibinomial(),
             control = glm.control(epsilon = 1e-14, maxit = 100))
  fitted(fit)
}
population <- function(e, which) {
  switch(which, att = e, ate = rep(1, n), atc = 1 - e, ato = e * (1 - e), matching = pmin(e, 1 - e))
}
score_weights <- function(case, which, by_site) {
  e <- propensity(case)
  h <- population(e, which)
  w <- h / ifelse(treated, e, 1 - e)
  target <- switch(which, att = treated * 1, atc = (!treated) * 1, h)
  if (by_site) for (site in 0:2) for (arm in c(TRUE, FALSE)) {
    here <- people$site == site & treated == arm
    w[here] <- w[here] * sum((case * target)[people$site == site]) / sum((case * w)[here])
  }
  w
}

# exp(x b) for the rows of an arm so that their weighted totals of x are those of the target rows
entropy <- function(x, case, arm, target) {
  totals <- colSums((case * x)[target, , drop = FALSE])
  b <- rep(0, ncol(x))
  if (all(x[, 1] == 1)) b[1] <- log(totals[1] / sum(case[arm]))
  else for (k in 1:3) b[k] <- log(totals[k] / sum((case * x[, k])[arm]))
  for (step in 1:60) {
    w <- case[arm] * exp(x[arm, ] %*% b)[, 1]
    move <- solve(crossprod(x[arm, ], w * x[arm, ]), totals - colSums(w * x[arm, ]))
    b <- b + move
    if (max(abs(move)) < 1e-14) break
  }
  exp(x[arm, ] %*% b)[, 1]
}
entropy_weights <- function(case, which, by_site) {
  x <- columns[[if (by_site) "by_site" else "plain"]]
  w <- rep(1, n)
  everybody <- rep(TRUE, n)
  if (which == "att") w[!treated] <- entropy(x, case, !treated, treated)
  if (which == "atc") w[treated] <- entropy(x, case, treated, !treated)
  if (which == "ate") {
    w[!treated] <- entropy(x, case, !treated, everybody)
    w[treated] <- entropy(x, case, treated, everybody)
  }
  w
}

# Inverse probabilities whose weighted totals of x agree between the arms: the just-identified score for the ATE
score_ate <- function(case, which, by_site) {
  x <- columns[[if (by_site) "by_site" else "plain"]]
  sign <- ifelse(treated, 1, -1)
  b <- qr.coef(qr(x), qlogis(propensity(case)))
  for (step in 1:60) {
    odds <- exp(-sign * (x %*% b)[, 1])
    gap <- colSums(case * sign * (1 + odds) * x)
    move <- solve(crossprod(x, case * odds * x), gap)
    b <- b + move
    if (max(abs(move)) < 1e-14) break
  }
  1 + exp(-sign * (x %*% b)[, 1])
}

contrast <- function(case, make, which, by_site) {
  w <- make(case, which, by_site) * case
  average <- function(x, arm) sum((w * x)[arm]) / sum(w[arm])
  risk <- c(average(people$y, treated), average(people$y, !treated))
  c(risk_difference = risk[1] - risk[2], risk_ratio = log(risk[1] / risk[2]),
    mean_difference = average(people$z, treated) - average(people$z, !treated))
}
jackknife <- function(estimate, step = 1e-4) {
  slopes <- sapply(unique(people$person), function(one) {
    here <- people$person == one
    (estimate(1 + step * here) - estimate(1 - step * here)) / (2 * step)
  })
  sqrt(rowSums(slopes^2))
}

values <- data.frame(data = character(), quantity = character(), value = numeric())
keep <- function(data, quantity, value) values[nrow(values) + 1, ] <<- list(data, quantity, unname(value))
weights <- data.frame(row = seq_len(n))
study <- function(name, make, which, by_site) {
  weights[[name]] <<- make(rep(1, n), which, by_site)
  found <- contrast(rep(1, n), make, which, by_site)
  errors <- jackknife(function(case) contrast(case, make, which, by_site))
  for (scale in names(found)) {
    keep(name, paste(scale, "value"), if (scale == "risk_ratio") exp(found[scale]) else found[scale])
    keep(name, paste(scale, "std_error"), errors[scale])
  }
}
for (by_site in c(FALSE, TRUE)) {
  variant <- if (by_site) "by_site" else "plain"
  for (which in c("att", "ate", "atc", "ato", "matching")) study(paste("score", which, variant, sep = "_"), score_weights, which, by_site)
  for (which in c("att", "atc", "ate")) study(paste("entropy", which, variant, sep = "_"), entropy_weights, which, by_site)
  study(paste("balancing_ate", variant, sep = "_"), score_ate, "ate", by_site)

  # The same weights from package survey
  x <- columns[[variant]]
  for (which in c("att", "atc", "ate")) {
    arm <- if (which == "atc") treated else !treated
    target <- switch(which, att = treated, atc = !treated, ate = rep(TRUE, n))
    data <- data.frame(x[arm, ])
    design <- svydesign(~1, weights = rep(sum(target) / sum(arm), sum(arm)), data = data)
    form <- as.formula(paste("~ 0 +", paste(names(data), collapse = " + ")))
    raked <- calibrate(design, form, population = colSums(x[target, ]), calfun = "raking", epsilon = 1e-13, maxit = 100)
    name <- paste("entropy", which, variant, sep = "_")
    stopifnot(max(abs(weights(raked) / weights[[name]][arm] - 1)) < 1e-9)
    weights[[name]][arm] <- unname(weights(raked))
  }
}
write.csv(format(weights, digits = 17, trim = TRUE), "weights.csv", row.names = FALSE, quote = FALSE)
values$value <- format(values$value, digits = 15, trim = TRUE)
write.csv(values, "values.csv", row.names = FALSE, quote = FALSE)
writeLines(c(R.version.string, paste("survey", as.character(packageVersion("survey")))), "versions.txt")
