# Reference values for censoring weights in models/recurrent and in Fine-Gray models. Run in this folder:
# Rscript make_censored.R
# Reads recurrent.csv, recurrent_events.csv and weighted.csv of ../effects (simulated, no patient); writes censored.csv
# and censored_versions.txt.
#
# No package weighs these by a Cox model of censoring with a discrete baseline, so it is written out: the coefficients
# are those of survival::coxph, the baseline's steps (Kalbfleisch & Prentice) are found by uniroot, the weighted
# partial likelihoods are those of coxph on rows for every day at risk. Errors: everything fitted again with each
# cluster's case weight moved a little up and down.
suppressPackageStartupMessages(library(survival))
options(warn = 2, digits = 17)
horizon <- 365
tight <- coxph.control(eps = 1e-13, toler.chol = 1e-15, iter.max = 100)
values <- data.frame(data = character(), quantity = character(), value = numeric())
keep <- function(data, quantity, value) values[nrow(values) + 1, ] <<- list(data, quantity, unname(value))
jackknife <- function(estimate, clusters, step = 1e-4) {
  slopes <- sapply(unique(clusters), function(one) {
    here <- clusters == one
    (estimate(1 + step * here) - estimate(1 - step * here)) / (2 * step)
  })
  sqrt(rowSums(matrix(slopes, ncol = length(unique(clusters)))^2))
}
weights_of <- function(d, estimand) function(case) {
  if (estimand == "plain") return(rep(1, nrow(d)))
  e <- fitted(glm(treated ~ x1 + x2, data = d, weights = case, family = quasibinomial(),
                  control = glm.control(epsilon = 1e-14, maxit = 100)))
  if (estimand == "att") ifelse(d$treated == 1, 1, e / (1 - e)) else ifelse(d$treated == 1, 1 / e, 1 / (1 - e))
}
# (people, days) the probability of still being observed just before each day; whoever has an event on a day, or dies,
# is no longer at risk of being lost on it
observed_before <- function(d, end, lost, w, days) {
  d$stop <- ifelse(lost, end, end - 0.25); d$lost <- lost; d$case <- w
  fit <- coxph(Surv(stop, lost) ~ x1 + x2 + strata(treated), data = d, weights = case, ties = "breslow", control = tight)
  r <- exp(cbind(d$x1, d$x2) %*% coef(fit))[, 1]
  hazard <- matrix(0, nrow(d), length(days))
  for (arm in 0:1) {
    mine <- d$treated == arm
    for (day in sort(unique(end[mine & lost]))) {
      goes <- mine & lost & end == day
      at_risk <- sum((w * r)[mine & d$stop >= day])
      if (at_risk <= sum((w * r)[goes]) * (1 + 1e-9)) next            # everybody leaves: nobody it would count for
      excess <- function(g) sum((w * r)[goes] / (1 - exp(-g * r[goes]))) - at_risk
      first <- sum(w[goes]) / at_risk
      step <- uniroot(excess, c(first / 2, first * 100), tol = 1e-15, maxiter = 10000)$root
      hazard[mine, days > day] <- hazard[mine, days > day] + step
    }
  }
  exp(-r * hazard)
}
log_ratio <- function(treated, risk, events) {   # Breslow: risk and events (people, days), weighted
  r1 <- colSums(risk[treated == 1, ]); r0 <- colSums(risk[treated == 0, ])
  e1 <- sum(events[treated == 1, ]); e <- colSums(events)
  uniroot(function(b) e1 - sum(e * exp(b) * r1 / (exp(b) * r1 + r0)), c(-3, 3), tol = 1e-13, maxiter = 10000)$root
}
check <- function(found, d, risk, has_event) {   # the same from coxph
  at <- which(risk > 0, arr.ind = TRUE)
  long <- data.frame(stop = at[, 2], case = risk[at], event = has_event[at], treated = d$treated[at[, 1]])
  fit <- coxph(Surv(stop - 0.5, stop, event) ~ treated, data = long, weights = case, ties = "breslow", control = tight)
  stopifnot(all.equal(found, unname(coef(fit)), tolerance = 1e-8))
}

# --- repeated events ------------------------------------------------------------------------------------------------------
d <- read.csv("../effects/recurrent.csv"); events <- read.csv("../effects/recurrent_events.csv")
events <- events[events$day <= horizon, ]
last <- pmin(d$last, horizon); died <- d$died == 1 & d$last <= horizon; lost <- !died & d$last < horizon
days <- sort(unique(events$day))
came <- matrix(0, nrow(d), length(days)); came[cbind(events$row + 1, match(events$day, days))] <- 1
stopifnot(sum(came) == nrow(events))
seen <- outer(last, days, ">=")
for (estimand in c("plain", "att", "ate")) {
  make <- weights_of(d, estimand)
  at <- function(case, checked = FALSE) {
    w <- make(case) * case
    weight <- pmin(1 / observed_before(d, last, lost, w, days), 10)
    count <- function(arm, until) sum((w * came * weight)[d$treated == arm, days <= until]) / sum(w[d$treated == arm])
    m <- c(count(1, 100), count(1, horizon), count(0, 100), count(0, horizon))
    ratio <- log_ratio(d$treated, w * weight * seen, w * weight * came)
    if (checked) check(ratio, d, w * weight * seen, came == 1)
    c(treated_100 = m[1], control_100 = m[3], difference = m[2] - m[4], ratio = log(m[2] / m[4]), lwyy = ratio)
  }
  found <- at(rep(1, nrow(d)), TRUE); error <- jackknife(at, d$person)
  for (what in names(found)) {
    keep(paste0("recurrent_", estimand), paste(what, "value"), found[[what]])
    keep(paste0("recurrent_", estimand), paste(what, "std_error"), error[[which(names(found) == what)]])
  }
}

# --- Fine-Gray: the living count one over the probability of the day, the dead that of the day they died, to the end --------
d <- read.csv("../effects/weighted.csv")
last <- pmin(d$day, horizon); event <- ifelse(d$day > horizon, 0, d$event); lost <- event == 0 & last < horizon
days <- sort(unique(last[event == 1]))
came <- outer(last, days, "==") & event == 1
stays <- outer(last, days, ">=") | event == 2
for (estimand in c("att", "ate")) {
  make <- weights_of(d, estimand)
  at <- function(case, checked = FALSE) {
    w <- make(case) * case
    every <- sort(unique(c(days, last)))
    weight <- pmin(1 / observed_before(d, last, lost, w, every), 10)
    own <- weight[cbind(seq_len(nrow(d)), match(last, every))]
    now <- weight[, match(days, every)]
    weight <- ifelse(event == 2 & outer(last, days, "<"), own, now)
    ratio <- log_ratio(d$treated, w * weight * stays, w * weight * came)
    if (checked) check(ratio, d, w * weight * stays, came)
    ratio
  }
  keep(paste0("fine_gray_", estimand), "value", at(rep(1, nrow(d)), TRUE))
  keep(paste0("fine_gray_", estimand), "std_error", jackknife(at, d$person))
}

# --- the test of proportional subdistribution hazards, as survival has it: the censoring curve as known, no weights --------
d <- read.csv("continuous.csv")
state <- factor(d$event, 0:2, c("censored", "readmitted", "died"))
long <- finegray(Surv(day, state) ~ treated + x, data = d, etype = "readmitted")
for (adjust in c("alone", "adjusted")) {
  formula <- if (adjust == "alone") Surv(fgstart, fgstop, fgstatus) ~ treated else Surv(fgstart, fgstop, fgstatus) ~ treated + x
  fit <- coxph(formula, data = long, weights = fgwt, ties = "breslow", control = tight)
  for (clock in c("identity", "log")) keep("zph", paste(adjust, clock), cox.zph(fit, transform = clock)$table["treated", "chisq"])
}

values$value <- format(values$value, digits = 15, trim = TRUE)
write.csv(values, "censored.csv", row.names = FALSE, quote = FALSE)
writeLines(c(R.version.string, paste("survival", as.character(packageVersion("survival")))), "censored_versions.txt")
