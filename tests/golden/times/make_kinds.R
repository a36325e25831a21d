# Reference values for first_readmission_type of models/times/risks.py. Run in this folder: Rscript make_kinds.R
# Reads matched.csv and weighted.csv of ../effects (simulated there, no patient), writes kinds.csv and kinds_versions.txt.
#
# A first readmission is voluntary (1) or under detention (3: every third row, counted from 0, of those readmitted), and
# either kind competes with the other and with death (2): survival::survfit with three states, cmprsk::cuminc where rows
# weigh the same. Errors of contrasts: everything refitted with each cluster's case weight moved a little up and down.
suppressPackageStartupMessages({library(survival); library(cmprsk)})
options(warn = 2, digits = 17)
horizon <- 365
values <- data.frame(data = character(), quantity = character(), value = numeric())
keep <- function(data, quantity, value) values[nrow(values) + 1, ] <<- list(data, quantity, unname(value))
by_kind <- function(rows) ifelse(rows$event == 1 & (seq_len(nrow(rows)) - 1) %% 3 == 0, 3, rows$event)
state <- function(event) factor(event, 0:3, c("censored", "informal", "died", "formal"))

incidence <- function(rows, weight) {
  rows$case <- weight
  fit <- survfit(Surv(day, state(event)) ~ 1, data = rows, weights = case, se.fit = FALSE)
  at <- summary(fit, times = c(90, horizon))$pstate
  colnames(at) <- fit$states
  c(at[, "informal"], at[, "formal"])
}
names_of <- paste(rep(c("is_informally_readmitted", "is_formally_readmitted"), each = 2), c(90, horizon))
contrasts <- function(rows, weight) {
  treated <- incidence(rows[rows$treated == 1, ], weight[rows$treated == 1])
  control <- incidence(rows[rows$treated == 0, ], weight[rows$treated == 0])
  c(treated - control, log(treated / control))
}
jackknife <- function(estimate, clusters, step = 1e-4) {
  slopes <- sapply(unique(clusters), function(one) {
    here <- clusters == one
    (estimate(1 + step * here) - estimate(1 - step * here)) / (2 * step)
  })
  sqrt(rowSums(slopes^2))
}
keep_all <- function(data, found, error) for (i in seq_along(names_of)) {
  keep(data, paste(names_of[i], "difference value"), found[i])
  keep(data, paste(names_of[i], "difference std_error"), error[i])
  keep(data, paste(names_of[i], "log_ratio value"), found[i + 4])
  keep(data, paste(names_of[i], "log_ratio std_error"), error[i + 4])
}

# --- the matched sample, sets that share a person being one cluster ----------------------------------------------------
matched <- read.csv("../effects/matched.csv")
matched$event <- by_kind(matched)
used <- matched[matched$weight > 0, ]
cluster <- used$set
repeat {
  before <- cluster
  cluster <- ave(ave(cluster, used$person, FUN = min), used$set, FUN = min)
  if (all(cluster == before)) break
}
n <- length(unique(cluster))
keep_all("matched", contrasts(used, used$weight),
         jackknife(function(case) contrasts(used, used$weight * case), cluster) * sqrt(n / (n - 1)))
for (arm in 0:1) {
  rows <- used[used$treated == arm, ]
  fit <- cuminc(rows$day, rows$event)
  at <- timepoints(fit, c(90, horizon))$est
  for (kind in c(1, 3)) for (i in 1:2) {
    keep("cuminc", paste(arm, kind, c(90, horizon)[i]), at[paste(1, kind), i])
  }
}

# --- estimated propensity weights -----------------------------------------------------------------------------------------
weighted <- read.csv("../effects/weighted.csv")
weighted$event <- by_kind(weighted)
make_weights <- function(case, estimand) {
  e <- fitted(glm(treated ~ x1 + x2, data = weighted, weights = case, family = quasibinomial(),
                  control = glm.control(epsilon = 1e-14, maxit = 100)))
  treated <- weighted$treated == 1
  if (estimand == "ATT") ifelse(treated, 1, e / (1 - e)) else ifelse(treated, 1 / e, 1 / (1 - e))
}
for (name in c("att_plain", "ate_plain")) {
  whole <- function(case) contrasts(weighted, make_weights(case, toupper(substr(name, 1, 3))) * case)
  keep_all(name, whole(rep(1, nrow(weighted))), jackknife(whole, weighted$person))
}
values$value <- format(values$value, digits = 15, trim = TRUE)
write.csv(values, "kinds.csv", row.names = FALSE, quote = FALSE)
writeLines(c(R.version.string, sapply(c("survival", "cmprsk"), function(name) paste(name, packageVersion(name)))),
           "kinds_versions.txt")
