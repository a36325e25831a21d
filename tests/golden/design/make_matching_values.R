# lalonde.csv, values.csv (untied log-odds) -> matching_values.csv: what R's MatchIt makes of the options of matching.
# Run in this folder: Rscript make_matching_values.R
# Debian 12: apt-get install --no-install-recommends r-base-core r-cran-matchit
library(MatchIt)

people <- read.csv("lalonde.csv", comment.char = "#", stringsAsFactors = FALSE)
people$black <- as.numeric(people$race == "black")
people$hispan <- as.numeric(people$race == "hispan")
stored <- read.csv("values.csv", stringsAsFactors = FALSE)
log_odds <- as.numeric(stored$value[stored$quantity == "untied_log_odds"])
width <- as.numeric(stored$value[stored$quantity == "caliper_width"])
rows <- seq_len(nrow(people))
covariates <- treat ~ age + educ + black + hispan + married + nodegree + re74 + re75

values <- data.frame()
keep <- function(quantity, key, value) {
  values <<- rbind(values, data.frame(quantity = quantity, key = key, value = format(value, digits = 15, trim = TRUE)))
}
keep("version", "R", R.version.string)
keep("version", "MatchIt", as.character(packageVersion("MatchIt")))

# As in make_values.R: gaps as a matrix, rows in the order of choosing, because MatchIt 4.5.1 goes wrong with a vector.
# Under the ATC the untreated choose, those with the lowest log-odds first: the ATT with the arms' names exchanged
# (given a matrix, MatchIt 4.5.1 stops under estimand = "ATC": "Row index is out of bounds").
pairs <- function(name, estimand = "ATT", ...) {
  order_chosen <- order(if (estimand == "ATT") -log_odds else log_odds)
  sorted <- people[order_chosen, ]
  rownames(sorted) <- order_chosen
  if (estimand == "ATC") sorted$treat <- 1 - sorted$treat
  gaps <- abs(outer(log_odds[order_chosen[sorted$treat == 1]], log_odds[order_chosen[sorted$treat == 0]], "-"))
  dimnames(gaps) <- list(order_chosen[sorted$treat == 1], order_chosen[sorted$treat == 0])
  matched <- matchit(
    covariates, data = sorted, method = "nearest", distance = gaps, m.order = "data", ...
  )
  table <- matched$match.matrix
  for (k in seq_len(ncol(table))) {
    found <- !is.na(table[, k])
    keep(paste0("pair_", name), as.integer(rownames(table))[found], as.integer(table[found, k]))
  }
  # An arm's weights as shares: MatchIt scales them to the arm's number of rows.
  share <- matched$weights / ave(matched$weights, sorted$treat, FUN = sum)
  keep(paste0("share_", name), order_chosen, share)
}
pairs("replace", replace = TRUE)
pairs("replace_caliper", replace = TRUE, caliper = width, std.caliper = FALSE)
pairs("replace_3to1", replace = TRUE, ratio = 3, caliper = width, std.caliper = FALSE)
pairs("anti_exact", antiexact = ~married)
pairs("anti_exact_two_caliper", antiexact = ~ married + nodegree, caliper = width, std.caliper = FALSE)
pairs("covariate_calipers", caliper = c(age = 3, re74 = 2000), std.caliper = FALSE)
pairs("covariate_calipers_2to1", caliper = c(age = 5, educ = 1), std.caliper = FALSE, ratio = 2)
pairs("atc", estimand = "ATC")
pairs("atc_caliper", estimand = "ATC", caliper = width, std.caliper = FALSE)
pairs("atc_replace", estimand = "ATC", replace = TRUE, caliper = width, std.caliper = FALSE)

# Variable ratio: how many controls MatchIt lets the treated have, highest log-odds first. It needs a score to rank by,
# so that here the vector is the distance; who is taken is another matter (see above), how many is not.
how_many <- function(name, ...) {
  matched <- matchit(covariates, data = people, method = "nearest", distance = log_odds, ...)
  counts <- rowSums(!is.na(matched$match.matrix))
  heads <- as.integer(rownames(matched$match.matrix))
  keep(paste0("count_", name), heads, counts)
}
how_many("2_of_1_to_4", ratio = 2, min.controls = 1, max.controls = 4)
how_many("2_of_1_to_5", ratio = 2, min.controls = 1, max.controls = 5)

# Distances of some treated rows from every control. robust_mahalanobis_dist of MatchIt 4.5.1 stops (its covariance is
# NULL), so its formula is written out: ranks, their variances raised to that of untied ranks.
robust <- function() {
  ranks <- apply(as.matrix(people[all.vars(covariates)[-1]]), 2, rank)
  blow_up <- sd(rows) / apply(ranks, 2, sd)
  inverse <- solve(cov(ranks) * outer(blow_up, blow_up))
  from <- function(row) sqrt(mahalanobis(ranks[people$treat == 0, ], ranks[row, ], inverse, inverted = TRUE))
  t(sapply(which(people$treat == 1), from))
}
far <- list(
  mahalanobis = mahalanobis_dist(covariates, data = people),
  mahalanobis_of_two = mahalanobis_dist(treat ~ age + re75, data = people),
  robust_mahalanobis = robust()
)
for (name in names(far)) {
  for (row in c(1, 10, 100)) {
    keep(paste0(name, "_from_", row), which(people$treat == 0), far[[name]][row, ])
  }
}

write.csv(values, "matching_values.csv", row.names = FALSE, quote = FALSE)
