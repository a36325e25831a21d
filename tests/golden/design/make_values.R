# lalonde.csv -> values.csv: what R's glm, MatchIt and Matching make of it. Run in this folder: Rscript make_values.R
# Debian 12: apt-get install --no-install-recommends r-base-core r-cran-matchit r-cran-matching
library(MatchIt)
library(Matching)

people <- read.csv("lalonde.csv", comment.char = "#", stringsAsFactors = FALSE)
people$black <- as.numeric(people$race == "black")
people$hispan <- as.numeric(people$race == "hispan")
rows <- seq_len(nrow(people))
covariates <- treat ~ age + educ + black + hispan + married + nodegree + re74 + re75

values <- data.frame()
keep <- function(quantity, key, value) {
  values <<- rbind(values, data.frame(quantity = quantity, key = key, value = format(value, digits = 15, trim = TRUE)))
}
keep("version", "R", R.version.string)
keep("version", "MatchIt", as.character(packageVersion("MatchIt")))
keep("version", "Matching", as.character(packageVersion("Matching")))

fit <- glm(covariates, data = people, family = binomial, control = glm.control(epsilon = 1e-14, maxit = 100))
score <- fitted(fit)
keep("coefficient", names(coef(fit)), coef(fit))
keep("log_odds", rows, predict(fit))
keep("score", rows, score)
keep("weight_att", rows, ifelse(people$treat == 1, 1, score / (1 - score)))
keep("weight_ate", rows, ifelse(people$treat == 1, 1 / score, 1 / (1 - score)))

# MatchIt's own summary of weights given to it: standardised difference over the treated (ATT) or pooled (ATE) SD.
balance <- function(name, matched, s.d.denom = "treated") {
  for (column in all.vars(covariates)[-1]) {
    x <- people[[column]]
    sides <- list(before = rep(1, nrow(people)), after = matched)
    for (side in names(sides)) {
      denominator <- MatchIt:::bal1var(
        x, people$treat, ww = sides[[side]], s.weights = rep(1, nrow(people)),
        s.d.denom = s.d.denom, standardize = TRUE, compute.pair.dist = FALSE
      )
      keep(paste0(name, "_smd_", side), column, denominator[["Std. Mean Diff."]])
      keep(paste0(name, "_variance_ratio_", side), column, denominator[["Var. Ratio"]])
    }
  }
}
att <- ifelse(people$treat == 1, 1, score / (1 - score))
ate <- ifelse(people$treat == 1, 1 / score, 1 / (1 - score))
balance("att", att)
balance("ate", ate, "pooled")
keep("ess", "att", sum(att[people$treat == 0])^2 / sum(att[people$treat == 0]^2))
keep("ess", "ate", sum(ate[people$treat == 0])^2 / sum(ate[people$treat == 0]^2))

# Greedy matching on the log-odds, hardest first. Rows with the same covariates tie, and MatchIt and this project break
# ties differently; a different tiny number added to each row leaves one right answer.
log_odds <- unname(predict(fit)) + rows * 1e-6
keep("untied_log_odds", rows, log_odds)
# 0.2 x Austin's pooled SD, in log-odds
is_treated <- people$treat == 1
width <- 0.2 * sqrt((var(log_odds[is_treated]) + var(log_odds[!is_treated])) / 2)
keep("caliper_width", "log_odds", width)

# MatchIt 4.5.1 goes wrong when it is given distances as a vector (5 of 185 treated do not get the nearest free control,
# 93 of 131 pairs break the caliper); given a matrix it agrees with package Matching and with brute force. A matrix
# is matched in the order of the data, so the rows are sorted first.
order_hardest <- order(-log_odds)
sorted <- people[order_hardest, ]
rownames(sorted) <- order_hardest
sorted_log_odds <- log_odds[order_hardest]
gaps <- abs(outer(sorted_log_odds[sorted$treat == 1], sorted_log_odds[sorted$treat == 0], "-"))
dimnames(gaps) <- list(order_hardest[sorted$treat == 1], order_hardest[sorted$treat == 0])
pairs <- function(name, ...) {
  matched <- matchit(covariates, data = sorted, method = "nearest", distance = gaps, m.order = "data", ...)
  table <- matched$match.matrix
  for (k in seq_len(ncol(table))) {
    found <- !is.na(table[, k])
    keep(paste0("pair_", name), as.integer(rownames(table))[found], as.integer(table[found, k]))
  }
  after <- summary(matched, standardize = TRUE)$sum.matched
  named <- all.vars(covariates)[-1]
  keep(paste0("matched_", name, "_mean_control"), named, after[named, "Means Control"])
  keep(paste0("matched_", name, "_smd"), named, after[named, "Std. Mean Diff."])
  keep(paste0("matched_", name, "_variance_ratio"), named, after[named, "Var. Ratio"])
}
pairs("1to1")
pairs("2to1", ratio = 2)
pairs("caliper", caliper = width, std.caliper = FALSE)
pairs("caliper_3to1", caliper = width, std.caliper = FALSE, ratio = 3)
pairs("exact", exact = ~married)

in_matching <- function(name, ...) {
  matched <- Match(
    Tr = sorted$treat, X = sorted_log_odds, M = 1, replace = FALSE, ties = FALSE, distance.tolerance = 0, ...
  )
  keep(paste0("Matching_", name), order_hardest[matched$index.treated], order_hardest[matched$index.control])
}
in_matching("1to1")
in_matching("caliper", caliper = width / sd(log_odds))

# Coarsened exact matching and subclassification: the weights, in which MatchIt makes each arm sum to its number of rows.
for (estimand in c("ATT", "ATC", "ATE")) {
  in_strata <- function(name, formula = covariates, ...) {
    keep(paste0(name, "_", estimand), rows, matchit(formula, data = people, estimand = estimand, ...)$weights)
  }
  in_strata("cem_sturges", method = "cem")
  # Numbers are cut, binaries are not.
  numbers <- c("age", "educ", "re74", "re75")
  in_strata("cem_bins", method = "cem", cutpoints = setNames(as.list(rep(4, 4)), numbers))
  cuts <- list(age = c(20, 30, 45), re74 = c(1, 5000))
  in_strata("cem_cuts", treat ~ age + educ + married + re74, method = "cem", cutpoints = cuts)
  in_strata("subclass_2", method = "subclass", distance = log_odds, subclass = 2)
  in_strata("subclass_6", method = "subclass", distance = log_odds, subclass = 6)
}

# Pairs on the Mahalanobis distance, whose covariance MatchIt pools within arms; the order of choosing is the data's.
gaps <- mahalanobis_dist(covariates, data = sorted)
matched <- matchit(covariates, data = sorted, method = "nearest", distance = gaps, m.order = "data", ratio = 2)
for (k in seq_len(2)) {
  keep("pair_mahalanobis", as.integer(rownames(matched$match.matrix)), as.integer(matched$match.matrix[, k]))
}
total <- function(column) gaps[cbind(rownames(matched$match.matrix), matched$match.matrix[, column])]
keep("mahalanobis_of_pair", as.integer(rownames(matched$match.matrix)), total(1))

write.csv(values, "values.csv", row.names = FALSE, quote = FALSE)
