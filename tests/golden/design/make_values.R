# lalonde.csv -> values.csv: what R's glm and MatchIt make of it. Run in this folder: Rscript make_values.R
# Debian 12: apt-get install --no-install-recommends r-base-core r-cran-matchit
library(MatchIt)

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

# Greedy matching on the log-odds, hardest first. The caliper is given in log-odds: 0.2 x Austin's pooled SD.
log_odds <- unname(predict(fit))
width <- 0.2 * sqrt((var(log_odds[people$treat == 1]) + var(log_odds[people$treat == 0])) / 2)
keep("caliper_width", "log_odds", width)
pairs <- function(name, ...) {
  matched <- matchit(covariates, data = people, method = "nearest", distance = log_odds, m.order = "largest", ...)
  table <- matched$match.matrix
  for (k in seq_len(ncol(table))) {
    found <- !is.na(table[, k])
    keep(name, as.integer(rownames(table))[found], as.integer(table[found, k]))
  }
  matched
}
plain <- pairs("pair_1to1")
pairs("pair_2to1", ratio = 2)
pairs("pair_caliper", caliper = c(width), std.caliper = FALSE)
pairs("pair_exact", exact = ~married)
after <- summary(plain, standardize = TRUE)$sum.matched
named <- intersect(rownames(after), all.vars(covariates)[-1])
keep("matched_smd_after", named, after[named, "Std. Mean Diff."])

write.csv(values, "values.csv", row.names = FALSE, quote = FALSE)
