# Reference values for models/observation.py: weights for outcomes that were not observed, under weighted means and under
# regressions of the outcome. Run in this folder, after make_golden.R: Rscript make_unobserved.R
# Reads matched.csv and weighted.csv (simulated, no patient); writes unobserved.csv (who was observed),
# unobserved_values.csv and unobserved_versions.txt.
#
# The probability of being observed is glm's, one model an arm, with the design's weights. Errors are the infinitesimal
# jackknife by brute force: everything (propensity, scaling within sites, model of observation, regressions) is fitted
# again with each cluster's case weight moved a little up and down; regressions add HC2's part to it by sandwich's
# estfun and bread, as in make_standardised.R. The weighted means are those of survey::svymean.
suppressPackageStartupMessages({library(sandwich); library(survey)})
options(warn = 2, digits = 17)
control <- glm.control(epsilon = 1e-14, maxit = 100)
values <- data.frame(data = character(), quantity = character(), value = numeric())
keep <- function(data, quantity, value) values[nrow(values) + 1, ] <<- list(data, quantity, unname(value))

fitted_by <- function(formula, rows, weight, family) {
  rows$.weight <- weight
  environment(formula) <- environment()
  glm(formula, data = rows, weights = .weight, family = family, control = control)
}
# One over the probability of being observed, 0 for whoever was not; `weight` holds case and design weights
observation <- function(rows, weight, formula, largest) {
  factor <- rep(0, nrow(rows))
  for (arm in 0:1) {
    here <- rows$treated == arm
    fit <- fitted_by(update(formula, seen ~ .), rows[here, ], weight[here], quasibinomial())
    factor[here] <- pmin(1 / fitted(fit), largest) * rows$seen[here]
  }
  factor
}
target_of <- function(rows, estimand, case, weigh) switch(estimand,
  ATT = rows$treated, ATE = rep(1, nrow(rows)), ATO = weigh(case))

regression <- function(rows, weight, arm, formula, outcome) {
  here <- rows$treated == arm & weight > 0
  rows$.outcome <- ifelse(rows$seen == 1, rows[[outcome]], 0)
  family <- if (outcome == "y") quasibinomial() else gaussian()
  fitted_by(update(formula, .outcome ~ .), rows[here, ], weight[here], family)
}
leverage_part <- function(rows, weight, target, arm, formula, outcome) {
  fit <- regression(rows, weight, arm, formula, outcome)
  here <- rows$treated == arm & weight > 0
  x <- model.matrix(delete.response(terms(fit)), rows)
  slope <- fit$family$mu.eta(predict(fit, rows, type = "link"))
  pull <- colSums(x * slope * target) / sum(target)
  added <- rep(0, nrow(rows))
  added[here] <- ((estfun(fit) %*% bread(fit) / sum(here)) %*% pull) * (1 / sqrt(1 - hatvalues(fit)) - 1)
  added
}

# how: "mean" (weighted_difference), "weighted" (adjusted_regression), "plain" (g_computation, which has no weights)
study <- function(name, rows, weigh, estimand, formula, clusters, how, correction = 1, largest = 10, step = 1e-4) {
  one <- rep(1, nrow(rows))
  in_fit <- function(case) {
    weight <- if (how == "plain") case else weigh(case) * case
    weight * observation(rows, weight, formula, largest)
  }
  for (outcome in c("y", "z")) {
    means <- function(case) {
      weight <- in_fit(case)
      sapply(c(1, 0), function(arm) {
        here <- rows$treated == arm & weight > 0
        if (how == "mean") return(sum((weight * rows[[outcome]])[here]) / sum(weight[here]))
        target <- target_of(rows, estimand, case, weigh) * case
        fit <- regression(rows, weight, arm, formula, outcome)
        sum(target * predict(fit, rows, type = "response")) / sum(target)
      })
    }
    at <- means(one)
    if (how == "mean") for (arm in 0:1) {
      seen <- rows[rows$treated == arm & rows$seen == 1, ]
      seen$.w <- in_fit(one)[rows$treated == arm & rows$seen == 1]
      by_survey <- coef(svymean(as.formula(paste("~", outcome)), svydesign(~1, weights = ~.w, data = seen)))
      stopifnot(abs(by_survey - at[2 - arm]) < 1e-12)
    }
    slopes <- sapply(unique(clusters), function(cluster) {
      here <- clusters == cluster
      (means(1 + step * here) - means(1 - step * here)) / (2 * step)
    })
    if (how != "mean") {
      target <- target_of(rows, estimand, one, weigh)
      added <- sapply(c(1, 0), function(arm) leverage_part(rows, in_fit(one), target, arm, formula, outcome))
      slopes <- slopes + t(rowsum(added, clusters)[as.character(unique(clusters)), ])
    }
    covariance <- slopes %*% t(slopes) * correction
    error <- function(gradient) sqrt(drop(t(gradient) %*% covariance %*% gradient))
    kind <- if (outcome == "z") "mean" else "risk"
    keep(name, paste0(kind, "_difference value"), at[1] - at[2])
    keep(name, paste0(kind, "_difference std_error"), error(c(1, -1)))
    keep(name, paste0(kind, "_ratio value"), at[1] / at[2])
    keep(name, paste0(kind, "_ratio std_error"), error(c(1 / at[1], -1 / at[2])))
    if (outcome == "y") {
      keep(name, "odds_ratio value", exp(qlogis(at[1]) - qlogis(at[2])))
      keep(name, "odds_ratio std_error", error(c(1, -1) / (at * (1 - at))))
    }
  }
  if (how == "mean") keep(name, "largest weight", max(observation(rows, weigh(one), formula, largest)))
}

set.seed(20240)
# --- the matched sample: covariates are the row's number modulo 7 and its sine, as in effect_samples.py --------------
matched <- read.csv("matched.csv")
matched$a <- (seq_len(nrow(matched)) - 1) %% 7
matched$b <- sin(seq_len(nrow(matched)) - 1)
matched$seen <- rbinom(nrow(matched), 1, plogis(1.2 + ifelse(matched$treated == 1, 0.3, -0.3) * (matched$a - 3)))
weighted <- read.csv("weighted.csv")
weighted$seen <- rbinom(nrow(weighted), 1, plogis(1.4 + ifelse(weighted$treated == 1, -0.8, 0.8) * weighted$x1))
who <- rbind(data.frame(data = 0, row = seq_len(nrow(matched)), seen = matched$seen),
             data.frame(data = 1, row = seq_len(nrow(weighted)), seen = weighted$seen))
write.csv(who, "unobserved.csv", row.names = FALSE, quote = FALSE)

matched <- matched[matched$weight > 0, ]
cluster <- matched$set
repeat {                                                    # sets that share a person become one cluster
  before <- cluster
  cluster <- ave(cluster, matched$person, FUN = min)
  cluster <- ave(cluster, matched$set, FUN = min)
  if (all(cluster == before)) break
}
correction <- length(unique(cluster)) / (length(unique(cluster)) - 1)
study("matched", matched, function(case) matched$weight, "ATT", ~ a + b, cluster, "mean", correction)

# --- the weighted pool ------------------------------------------------------------------------------------------------
weights_of <- function(case, estimand, by_site) {
  e <- fitted(fitted_by(treated ~ x1 + x2, weighted, case, quasibinomial()))
  treated <- weighted$treated == 1
  w <- switch(estimand, ATT = ifelse(treated, 1, e / (1 - e)), ATE = ifelse(treated, 1 / e, 1 / (1 - e)))
  if (by_site) for (site in 0:2) {
    here <- weighted$site == site
    target <- if (estimand == "ATT") sum(case[here & treated]) else sum(case[here])
    if (estimand == "ATE") w[here & treated] <- w[here & treated] * target / sum((case * w)[here & treated])
    w[here & !treated] <- w[here & !treated] * target / sum((case * w)[here & !treated])
  }
  w
}
for (estimand in c("ATT", "ATE")) for (variant in c("plain", "by_site")) {
  formula <- if (variant == "by_site") ~ x1 + x2 + factor(site) else ~ x1 + x2
  name <- tolower(paste(estimand, variant, sep = "_"))
  weigh <- function(case) weights_of(case, estimand, variant == "by_site")
  study(name, weighted, weigh, estimand, formula, weighted$person, "mean")
  study(paste("adjusted_regression", name), weighted, weigh, estimand, formula, weighted$person, "weighted")
  study(paste("g_computation", name), weighted, weigh, estimand, formula, weighted$person, "plain")
}
study("att_plain cut", weighted, function(case) weights_of(case, "ATT", FALSE), "ATT", ~ x1 + x2, weighted$person,
      "mean", largest = 1.5)

values$value <- format(values$value, digits = 15, trim = TRUE)
write.csv(values, "unobserved_values.csv", row.names = FALSE, quote = FALSE)
writeLines(c(R.version.string, paste("survey", as.character(packageVersion("survey"))),
             paste("sandwich", as.character(packageVersion("sandwich")))), "unobserved_versions.txt")
