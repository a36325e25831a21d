# Reference values for models/targeted.py and models/doubly_robust.py. Run in this folder, after make_golden.R:
# Rscript make_targeted.R. Reads weighted.csv; writes predictions.csv, targeted.csv and versions_targeted.txt.
#
# R's tmle is not in Debian, so its steps are written out: initial regressions (glm, lm), the fluctuation by glm with an
# offset and the weights of the estimand, the plug-in mean over the estimand's people and the efficient influence
# function, summed by person. Initial predictions are in-sample here; how they are cross-fitted is tested elsewhere.
options(warn = 2, digits = 17)
control <- glm.control(epsilon = 1e-14, maxit = 100)
values <- data.frame(data = character(), quantity = character(), value = numeric())
keep <- function(data, quantity, value) values[nrow(values) + 1, ] <<- list(data, quantity, unname(value))

rows <- read.csv("weighted.csv")
a <- rows$treated
e <- rows$score
predictions <- data.frame(score = e)
regress <- function(outcome, arm) {
  family <- if (outcome == "y") quasibinomial() else gaussian()
  fit <- glm(reformulate(c("x1", "x2"), outcome), data = rows[a == arm, ], family = family, control = control)
  predict(fit, rows, type = "response")
}
for (outcome in c("y", "z")) for (arm in c(1, 0)) predictions[[paste0(outcome, "_if_", arm)]] <- regress(outcome, arm)

people_of <- list(ATT = a, ATC = 1 - a, ATE = rep(1, nrow(rows)), ATO = (a - e)^2)
forward_of <- list(ATT = a, ATC = a * (1 - e) / e, ATE = a / e, ATO = a * (1 - e))
backward_of <- list(ATT = (1 - a) * e / (1 - e), ATC = 1 - a, ATE = (1 - a) / (1 - e), ATO = (1 - a) * e)

# A weighted mean and each row's influence on it, divided by the root of one minus the row's share (HC2 of a mean).
mean_of <- function(x, w) {
  share <- w / sum(w)
  list(mean = sum(share * x), influence = share * (x - sum(share * x)) / sqrt(1 - share))
}
augmented <- function(y, predicted, people, w) {
  base <- mean_of(predicted, people)
  rest <- mean_of(y - predicted, w)
  list(mean = base$mean + rest$mean, influence = base$influence + rest$influence)
}
targeted <- function(y, predicted, people, w) {
  low <- min(y); high <- max(y)
  initial <- qlogis(pmin(pmax((predicted - low) / (high - low), 0.0005), 0.9995))
  scaled <- (y - low) / (high - low)
  used <- w > 0
  fit <- glm(scaled ~ 1 + offset(initial), weights = w / mean(w[used]), subset = used, family = quasibinomial(), control = control)
  moved <- low + (high - low) * plogis(initial + coef(fit))
  stopifnot(abs(sum(w * (y - moved))) < 1e-8 * sum(w))
  augmented(y, moved, people, w)
}
for (estimand in names(people_of)) for (outcome in c("y", "z")) {
  y <- rows[[outcome]]
  for (method in c("aipw", "tmle")) {
    step <- if (method == "aipw") augmented else targeted
    arm <- function(number, w, own) {
      if (estimand == own) return(mean_of(y, people_of[[estimand]]))
      step(y, predictions[[paste0(outcome, "_if_", number)]], people_of[[estimand]], w)
    }
    treated <- arm(1, forward_of[[estimand]], "ATT")
    untreated <- arm(0, backward_of[[estimand]], "ATC")
    name <- paste(method, estimand, outcome)
    by_person <- rowsum(cbind(treated$influence, untreated$influence), rows$person)
    covariance <- t(by_person) %*% by_person
    keep(name, "mean_treated", treated$mean)
    keep(name, "mean_control", untreated$mean)
    keep(name, "std_error", sqrt(drop(t(c(1, -1)) %*% covariance %*% c(1, -1))))
    gradient <- c(1 / treated$mean, -1 / untreated$mean)
    keep(name, "log_ratio_std_error", sqrt(drop(t(gradient) %*% covariance %*% gradient)))
  }
}
write.csv(format(predictions, digits = 17, trim = TRUE), "predictions.csv", row.names = FALSE, quote = FALSE)
values$value <- format(values$value, digits = 15, trim = TRUE)
write.csv(values, "targeted.csv", row.names = FALSE, quote = FALSE)
writeLines(R.version.string, "versions_targeted.txt")
