# ../design/lalonde.csv -> values.csv: what R makes of balance beyond means. Run in this folder: Rscript make_values.R
# Debian 12: apt-get install --no-install-recommends r-base-core r-cran-matchit
library(MatchIt)

people <- read.csv("../design/lalonde.csv", comment.char = "#", stringsAsFactors = FALSE)
people$black <- as.numeric(people$race == "black")
people$hispan <- as.numeric(people$race == "hispan")
names <- c("age", "educ", "black", "hispan", "married", "nodegree", "re74", "re75")
fit <- glm(reformulate(names, "treat"), data = people, family = binomial,
           control = glm.control(epsilon = 1e-14, maxit = 100))
score <- fitted(fit)
odds <- ifelse(people$treat == 1, 1, score / (1 - score))
even <- rep(1, nrow(people))

values <- data.frame()
keep <- function(quantity, key, value) {
  values <<- rbind(values, data.frame(quantity = quantity, key = key, value = format(value, digits = 15, trim = TRUE)))
}
keep("version", "R", R.version.string)
keep("version", "MatchIt", as.character(packageVersion("MatchIt")))

of <- function(x, weights, s.d.denom = "treated") {
  MatchIt:::bal1var(x, people$treat, ww = weights, s.weights = even, s.d.denom = s.d.denom,
                    standardize = TRUE, compute.pair.dist = FALSE)
}
for (column in names) {
  keep("ks_before", column, of(people[[column]], even)[["eCDF Max"]])
  keep("ks_after", column, of(people[[column]], odds)[["eCDF Max"]])
  keep("atc_smd_before", column, of(people[[column]], even, "control")[["Std. Mean Diff."]])
}

# Squares and products of covariates, numbers centred on the treated group's mean.
is_number <- sapply(people[names], function(x) !all(x %in% c(0, 1)))
centred <- people[names]
for (column in names[is_number]) {
  centred[[column]] <- people[[column]] - mean(people[[column]][people$treat == 1])
}
for (i in seq_along(names)) for (j in i:length(names)) {
  if (i == j && !is_number[i]) next
  product <- centred[[names[i]]] * centred[[names[j]]]
  if (length(unique(product)) == 1) next
  key <- if (i == j) paste(names[i], "squared") else paste(names[i], names[j], sep = " x ")
  keep("product_smd_before", key, of(product, even)[["Std. Mean Diff."]])
  keep("product_smd_after", key, of(product, odds)[["Std. Mean Diff."]])
}

# Walker's preference score, and the weighted c-statistic by brute force over all pairs.
share <- mean(people$treat)
preference <- plogis(qlogis(score) - qlogis(share))
inside <- preference >= 0.3 & preference <= 0.7
keep("equipoise", c("all", "treated", "control"),
     c(mean(inside), mean(inside[people$treat == 1]), mean(inside[people$treat == 0])))
wins <- outer(score[people$treat == 1], score[people$treat == 0], function(a, b) (a > b) + (a == b) / 2)
keep("c_statistic", "after", sum(wins %*% odds[people$treat == 0]) / (nrow(wins) * sum(odds[people$treat == 0])))

# The largest risk ratio below 1 (and the smallest above) that a Wald test finds with 80 % power.
detect <- function(p0, n1, n0, towards, power = 0.8, alpha = 0.05) {
  z <- qnorm(1 - alpha / 2) + qnorm(power)
  excess <- function(p1) abs(p1 - p0) - z * sqrt(p1 * (1 - p1) / n1 + p0 * (1 - p0) / n0)
  uniroot(excess, c(p0, towards), tol = 1e-14)$root / p0
}
keep("detectable", "0.5 294 588 below", detect(0.5, 294, 588, 1e-9))
keep("detectable", "0.5 294 588 above", detect(0.5, 294, 588, 1 - 1e-9))
keep("detectable", "0.1 1000 3000 below", detect(0.1, 1000, 3000, 1e-9))
# The same with the null pooled (power.prop.test), for arms of one size: near, not equal.
near <- power.prop.test(n = 500, p1 = 0.5, power = 0.8)
keep("power.prop.test", "0.5 500 500 above", near$p2 / near$p1)

write.csv(values, "values.csv", row.names = FALSE, quote = FALSE)
