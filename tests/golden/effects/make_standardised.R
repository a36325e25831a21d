# Reference values for models/standardisation.py. Run in this folder, after make_golden.R: Rscript make_standardised.R
# Reads matched.csv and weighted.csv, writes standardised.csv and versions_standardised.txt.
#
# Regressions are lm and glm, one an arm; predictions are averaged over the people of the estimand. Errors are the
# infinitesimal jackknife by brute force (everything refitted with each cluster's case weight moved a little up and
# down: propensity, weights, both regressions), to which each row adds its score times 1 / sqrt(1 - hatvalue) - 1 (HC2,
# by sandwich's estfun and bread).
suppressPackageStartupMessages(library(sandwich))
options(warn = 2, digits = 17)
control <- glm.control(epsilon = 1e-14, maxit = 100)
values <- data.frame(data = character(), quantity = character(), value = numeric())
keep <- function(data, quantity, value) values[nrow(values) + 1, ] <<- list(data, quantity, unname(value))

regress <- function(rows, weight, formula, outcome) {
  rows$.weight <- weight
  rows$.outcome <- rows[[outcome]]
  family <- if (outcome == "y") quasibinomial() else gaussian()
  # The right family with case weights; a formula looks for its weights where it was made.
  environment(formula) <- environment()
  glm(formula, data = rows, weights = .weight, family = family, control = control)
}
# Under the ATO people count with their overlap weights, which are estimated too.
target_of <- function(rows, estimand, case) switch(estimand,
  ATT = rows$treated, ATC = 1 - rows$treated, ATE = rep(1, nrow(rows)), ATO = weights_of(case, "ATO", Inf, FALSE))

mean_over <- function(rows, case, weight, estimand, arm, formula, outcome) {
  here <- rows$treated == arm
  target <- target_of(rows, estimand, case) * case
  if (all(target[!here] == 0)) return(sum(target * rows[[outcome]]) / sum(target))
  fit <- regress(rows[here, ], (weight * case)[here], formula, outcome)
  sum(target * predict(fit, rows, type = "response")) / sum(target)
}
leverage_part <- function(rows, weight, estimand, arm, formula, outcome) {
  here <- rows$treated == arm
  target <- target_of(rows, estimand, rep(1, nrow(rows)))
  added <- rep(0, nrow(rows))
  if (all(target[!here] == 0)) return(added)
  fit <- regress(rows[here, ], weight[here], formula, outcome)
  x <- model.matrix(delete.response(terms(fit)), rows)
  slope <- fit$family$mu.eta(predict(fit, rows, type = "link"))
  pull <- colSums(x * slope * target) / sum(target)
  beta <- estfun(fit) %*% bread(fit) / sum(here)
  added[here] <- (beta %*% pull) * (1 / sqrt(1 - hatvalues(fit)) - 1)
  added
}
standardise <- function(name, rows, weigh, estimand, formula, clusters, factor = 1, step = 1e-4) {
  one <- rep(1, nrow(rows))
  for (outcome in c("y", "z")) {
    means <- function(case) {
      weight <- weigh(case)
      sapply(c(1, 0), function(arm) mean_over(rows, case, weight, estimand, arm, formula, outcome))
    }
    at <- means(one)
    slopes <- sapply(unique(clusters), function(cluster) {
      here <- clusters == cluster
      (means(1 + step * here) - means(1 - step * here)) / (2 * step)
    })
    added <- sapply(c(1, 0), function(arm) leverage_part(rows, weigh(one), estimand, arm, formula, outcome))
    slopes <- slopes + t(rowsum(added, clusters)[as.character(unique(clusters)), ])
    covariance <- slopes %*% t(slopes) * factor
    error <- function(gradient) sqrt(drop(t(gradient) %*% covariance %*% gradient))
    log_ratio <- c(1 / at[1], -1 / at[2])
    if (outcome == "z") {
      keep(name, "mean_difference value", at[1] - at[2]); keep(name, "mean_difference std_error", error(c(1, -1)))
      keep(name, "mean_ratio value", at[1] / at[2]); keep(name, "mean_ratio std_error", error(log_ratio))
    } else {
      keep(name, "risk_difference value", at[1] - at[2]); keep(name, "risk_difference std_error", error(c(1, -1)))
      keep(name, "risk_ratio value", at[1] / at[2]); keep(name, "risk_ratio std_error", error(log_ratio))
      keep(name, "odds_ratio value", exp(qlogis(at[1]) - qlogis(at[2])))
      keep(name, "odds_ratio std_error", error(c(1, -1) / (at * (1 - at))))
    }
  }
}

# --- the matched sample: covariates are the row's number modulo 7 and its sine, as in effect_samples.py ------------------
matched <- read.csv("matched.csv")
matched$a <- (seq_len(nrow(matched)) - 1) %% 7
matched$b <- sin(seq_len(nrow(matched)) - 1)
matched <- matched[matched$weight > 0, ]
cluster <- matched$set
repeat {                                                    # sets that share a person become one cluster
  before <- cluster
  cluster <- ave(cluster, matched$person, FUN = min)
  cluster <- ave(cluster, matched$set, FUN = min)
  if (all(cluster == before)) break
}
n_clusters <- length(unique(cluster))
correction <- n_clusters / (n_clusters - 1)
standardise("g_computation matched", matched, function(case) rep(1, nrow(matched)), "ATT", .outcome ~ a + b, cluster, correction)
standardise("adjusted_regression matched", matched, function(case) matched$weight, "ATT", .outcome ~ a + b, cluster, correction)

# --- the weighted pool --------------------------------------------------------------------------------------------------
weighted <- read.csv("weighted.csv")
propensity <- function(case) {
  weighted$.case <- case
  fitted(glm(treated ~ x1 + x2, data = weighted, weights = .case, family = quasibinomial(), control = control))
}
weights_of <- function(case, estimand, cap, by_site) {
  e <- propensity(case)
  treated <- weighted$treated == 1
  w <- switch(estimand, ATT = ifelse(treated, 1, e / (1 - e)), ATE = ifelse(treated, 1 / e, 1 / (1 - e)),
              ATC = ifelse(treated, (1 - e) / e, 1), ATO = ifelse(treated, 1 - e, e))
  w[!treated] <- pmin(w[!treated], cap)
  if (by_site) for (site in 0:2) {
    here <- weighted$site == site
    target <- if (estimand == "ATT") sum(case[here & treated]) else sum(case[here])
    if (estimand == "ATE") w[here & treated] <- w[here & treated] * target / sum((case * w)[here & treated])
    w[here & !treated] <- w[here & !treated] * target / sum((case * w)[here & !treated])
  }
  w
}
one <- rep(1, nrow(weighted))
for (estimand in c("ATT", "ATE", "ATC")) for (variant in c("plain", "by_site")) {
  formula <- if (variant == "by_site") .outcome ~ x1 + x2 + factor(site) else .outcome ~ x1 + x2
  name <- tolower(paste(estimand, variant, sep = "_"))
  standardise(paste("g_computation", name), weighted, function(case) one, estimand, formula, weighted$person)
}
for (estimand in c("ATT", "ATE")) for (variant in c("plain", "capped", "by_site")) {
  formula <- if (variant == "by_site") .outcome ~ x1 + x2 + factor(site) else .outcome ~ x1 + x2
  name <- tolower(paste(estimand, variant, sep = "_"))
  sorted <- sort(weights_of(one, estimand, Inf, FALSE)[weighted$treated == 0])
  cap <- if (variant == "capped") mean(sorted[length(sorted) - c(12, 13)]) else Inf
  weigh <- function(case) weights_of(case, estimand, cap, variant == "by_site")
  stopifnot(all.equal(weigh(one), weighted[[paste0("weight_", name)]], tolerance = 1e-12))
  standardise(paste("adjusted_regression", name), weighted, weigh, estimand, formula, weighted$person)
}
standardise("g_computation ato_plain", weighted, function(case) one, "ATO", .outcome ~ x1 + x2, weighted$person)
for (estimand in c("ATC", "ATO")) {
  name <- paste0("adjusted_regression ", tolower(estimand), "_plain")
  standardise(name, weighted, function(case) weights_of(case, estimand, Inf, FALSE), estimand, .outcome ~ x1 + x2, weighted$person)
}
values$value <- format(values$value, digits = 15, trim = TRUE)
write.csv(values, "standardised.csv", row.names = FALSE, quote = FALSE)
writeLines(c(R.version.string, paste("sandwich", as.character(packageVersion("sandwich")))), "versions_standardised.txt")
