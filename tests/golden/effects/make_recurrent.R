# Reference values for models/recurrent. Run in this folder: Rscript make_recurrent.R
# Reads nothing; writes recurrent.csv and recurrent_events.csv (simulated, no patient), recurrent_values.csv and
# recurrent_versions.txt.
#
# Mean cumulative count: mets::recurrentMarginal (Ghosh & Lin 2000) with its standard errors, in unweighted arms; with
# weights, the formula from survival::survfit, and its error by the infinitesimal jackknife by brute force. Proportional
# rates: survival::coxph with Breslow ties and cluster; with estimated weights the same jackknife.
suppressPackageStartupMessages({library(survival); library(mets)})
options(warn = 2, digits = 17)
set.seed(20261125)
values <- data.frame(data = character(), quantity = character(), value = numeric())
keep <- function(data, quantity, value) values[nrow(values) + 1, ] <<- list(data, quantity, unname(value))
n <- 260; horizon <- 365
d <- data.frame(row = seq_len(n) - 1, person = c(1:230, 1:30), x1 = round(rnorm(n), 4), x2 = rbinom(n, 1, 0.4))
d$treated <- as.numeric((runif(230) < plogis(-0.8 + 0.5 * d$x1[1:230] + 0.5 * d$x2[1:230]))[d$person])
frail <- rgamma(230, 1.5, 1.5)[d$person]
death <- ceiling(rexp(n, frail / 900))                       # those with many events die sooner
censored <- ifelse(runif(n) < 0.4, sample(20:364, n, TRUE), 400)
d$last <- pmin(death, censored); d$died <- as.numeric(death <= censored)
events <- do.call(rbind, lapply(seq_len(n), function(i) {
  k <- rpois(1, frail[i] * d$last[i] / 200 * exp(0.3 * d$x1[i] - 0.3 * d$treated[i]))
  if (k) data.frame(row = d$row[i], day = sort(sample(d$last[i], min(k, d$last[i])))) else NULL
}))
d$last_exact <- round(d$last + runif(n, 0.5, 0.9), 6)
events$day_exact <- round(events$day + runif(nrow(events), -0.4, 0.4), 6)
stopifnot(!anyDuplicated(c(d$last_exact, events$day_exact)))
propensity <- function(case) fitted(glm(treated ~ x1 + x2, data = d, weights = case, family = quasibinomial(),
                                        control = glm.control(epsilon = 1e-14, maxit = 100)))
d$score <- propensity(rep(1, n))
weights_of <- function(estimand) function(case) {
  if (estimand == "plain") return(rep(1, n))
  e <- propensity(case)
  if (estimand == "att") ifelse(d$treated == 1, 1, e / (1 - e)) else ifelse(d$treated == 1, 1 / e, 1 / (1 - e))
}
for (estimand in c("att", "ate")) d[[paste0("weight_", estimand)]] <- weights_of(estimand)(rep(1, n))
write.csv(d, "recurrent.csv", row.names = FALSE); write.csv(events, "recurrent_events.csv", row.names = FALSE)

# counting-process rows: a row to each event, one more to the last day; a death on an event's day comes a moment later
process <- do.call(rbind, lapply(seq_len(n), function(i) {
  last <- min(d$last[i], horizon)
  at <- events$day[events$row == d$row[i] & events$day <= last]
  at_end <- length(at) && at[length(at)] == last
  stop <- if (at_end) at else c(at, last)
  data.frame(id = i, start = c(0, head(stop, -1)), stop = stop,
             event = c(rep(1, length(at)), if (!at_end) 0), treated = d$treated[i])
}))
count_at <- function(arm, w, times) {
  here <- d$treated == arm
  last <- pmin(d$last, horizon); died <- d$died == 1 & d$last <= horizon
  days <- sort(unique(c(last[here], events$day[events$day <= horizon & here[events$row + 1]])))
  risk <- sapply(days, function(t) sum(w[here & last >= t]))
  dead <- sapply(days, function(t) sum(w[here & last == t & died]))
  came <- sapply(days, function(t) sum(w[events$row[events$day == t & here[events$row + 1]] + 1]))
  alive <- cumprod(c(1, 1 - dead / risk))[seq_along(days)]
  stepfun(days, c(0, cumsum(alive * came / risk)))(times)
}
ratio_of <- function(w) coef(coxph(Surv(start, stop, event) ~ treated, data = process, weights = w[process$id],
                                   ties = "breslow", control = coxph.control(eps = 1e-13, toler.chol = 1e-15, iter.max = 100)))
jackknife <- function(estimate, clusters, step = 1e-4) {
  slopes <- sapply(unique(clusters), function(one) {
    here <- clusters == one
    (estimate(1 + step * here) - estimate(1 - step * here)) / (2 * step)
  })
  sqrt(rowSums(slopes^2))
}
for (estimand in c("plain", "att", "ate")) {
  make <- weights_of(estimand)
  at <- function(case) {
    w <- make(case) * case
    m <- c(count_at(1, w, c(100, horizon)), count_at(0, w, c(100, horizon)))
    c(treated_100 = m[1], control_100 = m[3], difference = m[2] - m[4], ratio = log(m[2] / m[4]), lwyy = ratio_of(w)[[1]])
  }
  found <- at(rep(1, n)); error <- jackknife(at, d$person)
  for (what in names(found)) {
    keep(estimand, paste(what, "value"), if (what %in% c("ratio", "lwyy")) exp(found[[what]]) else found[[what]])
    keep(estimand, paste(what, "std_error"), error[[which(names(found) == what)]])
  }
}
# the package, rows as independent and times without ties (mets takes tied deaths one after the other)
for (arm in 1:0) {
  rows <- d[d$treated == arm, ]
  pieces <- do.call(rbind, lapply(seq_len(nrow(rows)), function(i) {
    at <- events$day_exact[events$row == rows$row[i]]
    data.frame(id = i, start = c(0, at), stop = c(at, rows$last_exact[i]), event = c(rep(1, length(at)), 0),
               death = c(rep(0, length(at)), rows$died[i]))
  }))
  xr <- phreg(Surv(start, stop, event) ~ cluster(id), data = pieces)
  dr <- phreg(Surv(start, stop, death) ~ cluster(id), data = pieces)
  found <- recurrentMarginal(xr, dr)
  for (time in c(100, 300)) {
    i <- max(which(found$times <= time))
    keep("independent", paste("mets", arm, time, "value"), found$mu[i])
    keep("independent", paste("mets", arm, time, "std_error"), found$se.mu[i])
  }
}
fit <- coxph(Surv(start, stop, event) ~ treated + cluster(id), data = process, ties = "breslow")
keep("independent", "lwyy value", exp(coef(fit))); keep("independent", "lwyy std_error", sqrt(vcov(fit)[1, 1]))
write.csv(values, "recurrent_values.csv", row.names = FALSE)
writeLines(c(R.version.string, paste("survival", packageVersion("survival")), paste("mets", packageVersion("mets"))), "recurrent_versions.txt")
