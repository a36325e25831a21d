# Reference values for models/times/hazards.py, fine_gray.py and risks.py. Run in this folder: Rscript make_effects.R
# Reads matched.csv and weighted.csv of ../effects (simulated there, no patient), writes continuous.csv and effects.csv.
#
# Robust errors come from coxph, cmprsk::crr and survfit. Where no package has the error (estimated propensity weights, an
# estimated censoring curve under weights, contrasts of two curves) everything is refitted with each cluster's case
# weight moved a little up and down: the infinitesimal jackknife by brute force.
suppressPackageStartupMessages({library(survival); library(cmprsk)})
options(digits = 17)
horizon <- 365
values <- data.frame(data = character(), quantity = character(), value = numeric())
keep <- function(data, quantity, value) values[nrow(values) + 1, ] <<- list(data, quantity, unname(value))
tight <- coxph.control(eps = 1e-13, toler.chol = 1e-14, iter.max = 60)
state <- function(event) factor(event, 0:2, c("censored", "readmitted", "died"))

jackknife <- function(estimate, clusters, step = 1e-4) {
  slopes <- sapply(unique(clusters), function(one) {
    here <- clusters == one
    (estimate(1 + step * here) - estimate(1 - step * here)) / (2 * step)
  })
  sqrt(rowSums(matrix(slopes, ncol = length(unique(clusters)))^2))
}
hazard_ratio <- function(rows, weight, is_event, ties = "efron") {
  rows$case <- weight
  coef(coxph(Surv(day, is_event) ~ treated, data = rows, weights = case, ties = ties, control = tight))
}
# Written out, because survival::finegray 3.5.3 takes the censoring curve without case weights, and with strata() only at
# the event days of the stratum itself. Where neither plays a part the two agree (checked below), as does cmprsk::crr.
subdistribution <- function(rows, weight, by_arm, ties = "efron") {
  days <- sort(unique(rows$day[rows$event == 1]))
  group <- if (by_arm) rows$treated else rep(0, nrow(rows))
  long <- data.frame(start = 0, stop = rows$day, status = rows$event == 1, case = weight, treated = rows$treated)
  for (g in unique(group)) {
    mine <- group == g
    left <- sort(unique(rows$day[mine & rows$event == 0]))
    step <- sapply(left, function(day) {                    # events of a day come before the end of observation
      here <- mine & rows$event == 0 & rows$day == day
      sum(weight[here]) / sum(weight[here | (mine & rows$day > day)])
    })
    curve <- cumprod(c(1, 1 - step))
    before <- function(day) curve[findInterval(day, left, left.open = TRUE) + 1]
    dead <- which(mine & rows$event == 2)
    pairs <- expand.grid(row = dead, day = days)
    pairs <- pairs[pairs$day > rows$day[pairs$row], ]
    kept <- weight[pairs$row] * before(pairs$day) / before(rows$day[pairs$row])
    long <- rbind(long, data.frame(start = pairs$day - 0.5, stop = pairs$day, status = FALSE, case = kept,
                                   treated = rows$treated[pairs$row]))
  }
  long <- long[long$case > 0, ]
  coef(coxph(Surv(start, stop, status) ~ treated, data = long, weights = case, ties = ties, control = tight))
}
lost <- function(rows, weight, until) {
  rows$case <- weight
  fit <- survfit(Surv(day, state(event)) ~ 1, data = rows, weights = case, se.fit = FALSE)
  curve <- fit$pstate[fit$time <= until, 2]
  sum(curve * diff(c(fit$time[fit$time <= until], until)))
}
survival_of <- function(rows, weight, times) {
  rows$case <- weight
  fit <- survfit(Surv(day, event > 0) ~ 1, data = rows, weights = case, se.fit = FALSE)
  1 - summary(fit, times = times, extend = TRUE)$surv
}
everything <- function(rows, weight) {
  arm <- function(f, ...) {
    treated <- f(rows[rows$treated == 1, ], weight[rows$treated == 1], ...)
    control <- f(rows[rows$treated == 0, ], weight[rows$treated == 0], ...)
    c(treated - control, log(treated / control))
  }
  c(cox = hazard_ratio(rows, weight, rows$event > 0), readmitted = hazard_ratio(rows, weight, rows$event == 1),
    died = hazard_ratio(rows, weight, rows$event == 2),
    readmitted_breslow = hazard_ratio(rows, weight, rows$event == 1, "breslow"),
    fine_gray_arm = subdistribution(rows, weight, TRUE), fine_gray_everybody = subdistribution(rows, weight, FALSE),
    fine_gray_breslow = subdistribution(rows, weight, TRUE, "breslow"),
    lost_365 = arm(lost, 365), lost_100 = arm(lost, 100), kaplan_meier_365 = arm(survival_of, 365),
    kaplan_meier_100 = arm(survival_of, 100))
}
names_of <- c("cox", "readmitted", "died", "readmitted_breslow", "fine_gray_arm", "fine_gray_everybody",
              "fine_gray_breslow", "lost_365 difference", "lost_365 log_ratio", "lost_100 difference",
              "lost_100 log_ratio", "kaplan_meier_365 difference", "kaplan_meier_365 log_ratio",
              "kaplan_meier_100 difference", "kaplan_meier_100 log_ratio")
keep_all <- function(data, value, error) for (i in seq_along(names_of)) {
  keep(data, paste(names_of[i], "value"), value[i])
  keep(data, paste(names_of[i], "std_error"), error[i])
}

# --- the matched sample, sets that share a person being one cluster ----------------------------------------------------
matched <- read.csv("../effects/matched.csv")
used <- matched[matched$weight > 0, ]
cluster <- used$set
repeat {
  before <- cluster
  cluster <- ave(cluster, used$person, FUN = min)
  cluster <- ave(cluster, used$set, FUN = min)
  if (all(cluster == before)) break
}
used$cluster <- cluster
package <- finegray(Surv(day, state(event)) ~ treated, data = used, etype = "readmitted")
package <- coxph(Surv(fgstart, fgstop, fgstatus) ~ treated, data = package, weights = fgwt, control = tight)
stopifnot(all.equal(coef(package), subdistribution(used, rep(1, nrow(used)), FALSE), tolerance = 1e-10))
n <- length(unique(cluster))
correction <- sqrt(n / (n - 1))
keep_all("matched", everything(used, used$weight),
         jackknife(function(case) everything(used, used$weight * case), cluster) * correction)
for (kind in c("readmitted", "died")) {                     # the same from coxph itself
  is_event <- used$event == c(readmitted = 1, died = 2)[kind]
  fit <- coxph(Surv(day, is_event) ~ treated, data = used, weights = weight, cluster = cluster, control = tight)
  keep("matched_coxph", paste(kind, "std_error"), sqrt(fit$var[1, 1]) * correction)
}
for (arm in 0:1) {                                          # the mean time lost of an arm, rows as independent
  fit <- survfit(Surv(day, state(event)) ~ 1, data = used[used$treated == arm, ], weights = weight, robust = TRUE)
  keep("matched_arm", paste("lost", arm, "value"), summary(fit, rmean = horizon)$table["readmitted", "rmean"])
  by_row <- residuals(fit, times = horizon, type = "sojourn", weighted = TRUE)
  keep("matched_arm", paste("lost", arm, "std_error"), sqrt(sum(by_row[, "readmitted"]^2)))
}

# --- estimated propensity weights -----------------------------------------------------------------------------------------
weighted <- read.csv("../effects/weighted.csv")
make_weights <- function(case, estimand, by_site) {
  fit <- glm(treated ~ x1 + x2, data = weighted, weights = case, family = quasibinomial(),
             control = glm.control(epsilon = 1e-14, maxit = 100))
  e <- fitted(fit)
  treated <- weighted$treated == 1
  w <- if (estimand == "ATT") ifelse(treated, 1, e / (1 - e)) else ifelse(treated, 1 / e, 1 / (1 - e))
  if (by_site) for (site in 0:2) {
    here <- weighted$site == site
    w[here & !treated] <- w[here & !treated] * sum(case[here & treated]) / sum((case * w)[here & !treated])
  }
  w
}
for (name in c("att_plain", "ate_plain", "att_by_site")) {
  estimand <- toupper(substr(name, 1, 3))
  by_site <- name == "att_by_site"
  whole <- function(case) everything(weighted, make_weights(case, estimand, by_site) * case)
  keep_all(name, whole(rep(1, nrow(weighted))), jackknife(whole, weighted$person))
}

# --- days without ties, no weights: cmprsk --------------------------------------------------------------------------------
set.seed(20261125)
n <- 250
continuous <- data.frame(treated = rbinom(n, 1, 0.4), x = round(rnorm(n), 4))
first <- rexp(n, exp(0.5 * continuous$x - 0.4 * continuous$treated) / 300)
death <- rexp(n, 1 / 500)
left <- rexp(n, (1 + continuous$treated) / 700)
continuous$day <- round(pmin(first, death, left), 9)
continuous$event <- ifelse(left < pmin(first, death), 0, ifelse(first < death, 1, 2))
write.csv(continuous, "continuous.csv", row.names = FALSE)
for (by in c("arm", "everybody")) for (adjust in c("alone", "adjusted")) {
  x <- if (adjust == "alone") cbind(continuous$treated) else cbind(continuous$treated, continuous$x)
  group <- if (by == "arm") continuous$treated else rep(1, n)
  fit <- crr(continuous$day, continuous$event, x, cengroup = group, gtol = 1e-12, maxiter = 50)
  keep("crr", paste(by, adjust, "value"), fit$coef[1])
  keep("crr", paste(by, adjust, "std_error"), sqrt(fit$var[1, 1]))
}
for (adjust in c("alone", "adjusted")) {
  formula <- if (adjust == "alone") Surv(day, event == 1) ~ treated else Surv(day, event == 1) ~ treated + x
  fit <- coxph(formula, data = continuous, control = tight, robust = TRUE)
  keep("continuous_cox", paste(adjust, "value"), coef(fit)[1])
  keep("continuous_cox", paste(adjust, "std_error"), sqrt(fit$var[1, 1]))
}

values$value <- format(values$value, digits = 15, trim = TRUE)
write.csv(values, "effects.csv", row.names = FALSE, quote = FALSE)
writeLines(c(R.version.string, sapply(c("survival", "cmprsk"), function(name) paste(name, packageVersion(name)))),
           "versions.txt")
