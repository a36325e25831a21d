# Reference values for models/effects.py and models/survival.py. Run in this folder: Rscript make_golden.R
# Writes matched.csv and weighted.csv (simulated, no patient), values.csv and versions.txt.
#
# Robust errors come from sandwich::vcovCL and survival::survfit. Where no package offers the error (estimated
# propensity weights, weights scaled within exact groups, contrasts of two curves) it is the infinitesimal jackknife done
# by brute force: everything is refitted with each cluster's case weight moved a little up and down.
suppressPackageStartupMessages({library(survival); library(sandwich); library(cmprsk)})
options(warn = 2, digits = 17)
set.seed(20261122)

values <- data.frame(data = character(), quantity = character(), value = numeric())
keep <- function(data, quantity, value) values[nrow(values) + 1, ] <<- list(data, quantity, unname(value))
horizon <- 365

draw_follow_up <- function(n, rate) {
  first <- ceiling(rexp(n, rate))
  death <- ceiling(rexp(n, 1 / 1500))
  censored <- ifelse(runif(n) < 0.2, ceiling(runif(n, 1, 365)), 400)
  day <- pmin(first, death, censored)
  event <- ifelse(day == censored, 0, ifelse(day == first, 1, 2))
  data.frame(day = pmin(day, horizon), event = ifelse(day > horizon, 0, event))
}

# --- a matched sample: 60 sets of one treated and one to three controls; some persons sit in two sets -----------------
n_controls <- sample(1:3, 60, replace = TRUE)
matched <- rbind(
  data.frame(set = 0:59, treated = 1, weight = 1, person = c(1:54, 1:6)),
  data.frame(set = rep(0:59, n_controls), treated = 0, weight = rep(1 / n_controls, n_controls),
             person = 100 + seq_len(sum(n_controls)))
)
matched$person[nrow(matched)] <- 101                        # a control person in the first and the last set
matched <- rbind(matched, data.frame(set = -1, treated = c(1, 1, 0, 0, 0), weight = 0, person = 501:505))
level <- rnorm(60)[ifelse(matched$set < 0, 1, matched$set + 1)]
matched$y <- as.numeric(runif(nrow(matched)) < plogis(-0.4 + 0.6 * level + 0.5 * matched$treated))
matched$z <- round(exp(1 + 0.3 * level + 0.2 * matched$treated + 0.4 * rnorm(nrow(matched))), 4)
matched <- cbind(matched, draw_follow_up(nrow(matched), ifelse(matched$treated == 1, 1 / 300, 1 / 500)))
matched <- matched[sample(nrow(matched)), ]
write.csv(matched, "matched.csv", row.names = FALSE)

used <- matched[matched$weight > 0, ]
cluster <- used$set
repeat {                                                    # sets that share a person become one cluster
  before <- cluster
  cluster <- ave(cluster, used$person, FUN = min)
  cluster <- ave(cluster, used$set, FUN = min)
  if (all(cluster == before)) break
}
keep("matched", "n_clusters", length(unique(cluster)))

regressions <- function(data, rows, clusters, cadjust) {
  robust <- function(fit) sqrt(vcovCL(fit, cluster = clusters, type = "HC0", cadjust = cadjust)[2, 2])
  mean_fit <- lm(z ~ treated, data = rows, weights = weight)
  risk_fit <- lm(y ~ treated, data = rows, weights = weight)
  control <- glm.control(epsilon = 1e-14, maxit = 100)
  ratio_fit <- glm(y ~ treated, data = rows, weights = weight, family = quasipoisson(), control = control)
  odds_fit <- glm(y ~ treated, data = rows, weights = weight, family = quasibinomial(), control = control)
  mean_ratio_fit <- glm(z ~ treated, data = rows, weights = weight, family = quasipoisson(), control = control)
  for (one in list(list("mean_difference", mean_fit, identity), list("risk_difference", risk_fit, identity),
                   list("risk_ratio", ratio_fit, exp), list("odds_ratio", odds_fit, exp),
                   list("mean_ratio", mean_ratio_fit, exp))) {
    keep(data, paste(one[[1]], "value"), one[[3]](coef(one[[2]])[2]))
    keep(data, paste(one[[1]], "std_error"), robust(one[[2]]))
  }
}
regressions("matched", used, cluster, TRUE)

# --- curves of the matched sample --------------------------------------------------------------------------------------
# survival 3.5.3 ignores `cluster` for the standard error of a multi-state survfit (every cluster gives the same), so
# "std.err" takes rows as independent, and "clustered" sums the package's own residuals within clusters.
state <- function(event) factor(event, 0:2, c("censored", "readmitted", "died"))
times <- c(30, 100, 200, 365)
for (arm in c("treated", "control")) {
  rows <- used$treated == (arm == "treated")
  fit <- survfit(Surv(day, state(event)) ~ 1, data = used[rows, ], weights = weight, robust = TRUE,
                 conf.type = "log-log")
  at <- summary(fit, times = times)
  by_row <- residuals(fit, times = times, type = "pstate", weighted = TRUE)
  clustered <- sqrt(colSums(rowsum(by_row[, , 2], cluster[rows])^2))
  stopifnot(all.equal(sqrt(colSums(by_row[, , 2]^2)), at$std.err[, 2], check.attributes = FALSE))
  for (i in seq_along(times)) {
    for (what in c("pstate", "std.err", "lower", "upper")) keep("matched", paste("curve", arm, times[i], what), at[[what]][i, 2])
    keep("matched", paste("curve", arm, times[i], "clustered"), clustered[i])
  }
  unweighted <- timepoints(cuminc(used$day[rows], used$event[rows]), times)$est["1 1", ]
  for (i in seq_along(times)) keep("matched_unweighted", paste("curve", arm, times[i], "pstate"), unweighted[i])
}

# --- brute-force infinitesimal jackknife ---------------------------------------------------------------------------------
jackknife <- function(estimate, clusters, step = 1e-4) {
  slopes <- sapply(unique(clusters), function(one) {
    here <- clusters == one
    (estimate(1 + step * here) - estimate(1 - step * here)) / (2 * step)
  })
  sqrt(rowSums(slopes^2))
}
incidence <- function(rows, weight) {
  rows$weight <- weight
  fit <- survfit(Surv(day, state(event)) ~ 1, data = rows, weights = weight, se.fit = FALSE)
  summary(fit, times = c(100, horizon))$pstate[, 2]
}
contrast_curves <- function(rows, weight) {
  treated <- incidence(rows[rows$treated == 1, ], weight[rows$treated == 1])
  control <- incidence(rows[rows$treated == 0, ], weight[rows$treated == 0])
  c(treated_100 = treated[1], control_100 = control[1], risk_difference = treated[2] - control[2],
    risk_ratio = log(treated[2] / control[2]))
}
name_curves <- c("curve treated 100 std.err", "curve control 100 std.err", "incidence_difference std_error",
                 "incidence_ratio std_error")
correction <- sqrt(length(unique(cluster)) / (length(unique(cluster)) - 1))
errors <- jackknife(function(case) contrast_curves(used, used$weight * case), cluster) * correction
for (i in 3:4) keep("matched", name_curves[i], errors[i])
keep("matched", "incidence_difference value", contrast_curves(used, used$weight)[3])
keep("matched", "incidence_ratio value", exp(contrast_curves(used, used$weight)[4]))

# --- a weighted pool: 350 persons, 50 of them with two rows; three sites -------------------------------------------------
n <- 400
weighted <- data.frame(person = c(1:350, 1:50), x1 = round(rnorm(n), 4), x2 = rbinom(n, 1, 0.4), site = sample(0:2, n, TRUE))
by_person <- rnorm(350)[weighted$person]
treated_person <- runif(350) < plogis(-1.2 + 0.5 * weighted$x1[1:350] + 0.6 * weighted$x2[1:350] + 0.3 * weighted$site[1:350])
weighted$treated <- as.numeric(treated_person[weighted$person])
weighted$y <- as.numeric(runif(n) < plogis(-0.5 + 0.5 * weighted$x1 + 0.3 * by_person + 0.2 * weighted$site))
weighted$z <- round(exp(0.5 + 0.3 * weighted$x1 + 0.2 * by_person + 0.1 * weighted$site + 0.3 * rnorm(n)), 4)
weighted <- cbind(weighted, draw_follow_up(n, exp(0.4 * weighted$x1) / 400))

propensity <- function(case) {
  fit <- glm(treated ~ x1 + x2, data = weighted, weights = case, family = quasibinomial(),
             control = glm.control(epsilon = 1e-14, maxit = 100))
  fitted(fit)
}
make_weights <- function(case, estimand, cap, by_site) {
  e <- propensity(case)
  treated <- weighted$treated == 1
  w <- if (estimand == "ATT") ifelse(treated, 1, e / (1 - e)) else ifelse(treated, 1 / e, 1 / (1 - e))
  w[!treated] <- pmin(w[!treated], cap)
  if (by_site) for (site in 0:2) {
    here <- weighted$site == site
    target <- if (estimand == "ATT") sum(case[here & treated]) else sum(case[here])
    if (estimand == "ATE") w[here & treated] <- w[here & treated] * target / sum((case * w)[here & treated])
    w[here & !treated] <- w[here & !treated] * target / sum((case * w)[here & !treated])
  }
  w
}
contrast_means <- function(case, estimand, cap, by_site) {
  w <- make_weights(case, estimand, cap, by_site) * case
  treated <- weighted$treated == 1
  average <- function(x, arm) sum((w * x)[arm]) / sum(w[arm])
  risk <- c(average(weighted$y, treated), average(weighted$y, !treated))
  z <- c(average(weighted$z, treated), average(weighted$z, !treated))
  c(mean_difference = z[1] - z[2], risk_difference = risk[1] - risk[2], risk_ratio = log(risk[1] / risk[2]),
    odds_ratio = qlogis(risk[1]) - qlogis(risk[2]), contrast_curves(weighted, w))
}
one <- rep(1, n)
weighted$score <- propensity(one)
for (estimand in c("ATT", "ATE")) for (variant in c("plain", "capped", "by_site")) {
  # Where nothing lies between the two neighbouring weights a small step cannot move a row across the cap.
  sorted <- sort(make_weights(one, estimand, Inf, FALSE)[weighted$treated == 0])
  cap <- if (variant == "capped") mean(sorted[length(sorted) - c(12, 13)]) else Inf
  name <- tolower(paste(estimand, variant, sep = "_"))
  weighted[[paste0("weight_", name)]] <- make_weights(one, estimand, cap, variant == "by_site")
  errors <- jackknife(function(case) contrast_means(case, estimand, cap, variant == "by_site"), weighted$person)
  quantities <- c(paste(names(errors)[1:4], "std_error"), name_curves)
  for (i in seq_along(errors)) keep(name, quantities[i], errors[i])
  rows <- weighted
  rows$weight <- weighted[[paste0("weight_", name)]]
  regressions(paste0(name, "_fixed"), rows, weighted$person, FALSE)
}
# values.csv has 15 digits; so the weights must have more, or the fixed errors would differ in the last place
write.csv(format(weighted, digits = 17, trim = TRUE), "weighted.csv", row.names = FALSE, quote = FALSE)
values$value <- format(values$value, digits = 15, trim = TRUE)
write.csv(values, "values.csv", row.names = FALSE, quote = FALSE)
writeLines(c(R.version.string, sapply(c("survival", "sandwich", "cmprsk"),
  function(name) paste(name, as.character(packageVersion(name))))), "versions.txt")
