# Reference values for models/bootstrap.py. Run in this folder, after make_golden.R: Rscript make_bootstrap.R
# Reads matched.csv and weighted.csv; writes bootstrap_values.csv and bootstrap_versions.txt.
#
# boot::boot draws whole clusters (joined matched sets, or persons), 10,000 times; in each replicate the propensity score
# is fitted again by glm and the weights are made from it. A standard error from 10,000 replicates is 0.7 % uncertain.
# Debian 12: apt-get install --no-install-recommends r-base-core r-cran-boot
suppressPackageStartupMessages(library(boot))
options(digits = 17)
set.seed(20261124)
replicates <- 10000
values <- data.frame(data = character(), quantity = character(), value = numeric())
keep <- function(data, quantity, value) values[nrow(values) + 1, ] <<- list(data, quantity, unname(value))

contrasts <- function(rows, w) {
  average <- function(x, arm) sum((w * x)[arm]) / sum(w[arm])
  treated <- rows$treated == 1
  y <- c(average(rows$y, treated), average(rows$y, !treated))
  z <- c(average(rows$z, treated), average(rows$z, !treated))
  c(risk_difference = y[1] - y[2], risk_ratio = log(y[1] / y[2]), odds_ratio = qlogis(y[1]) - qlogis(y[2]),
    mean_difference = z[1] - z[2], mean_ratio = log(z[1] / z[2]))
}
study <- function(name, rows, cluster, weigh) {
  place <- match(cluster, unique(cluster))
  drawn <- boot(seq_len(max(place)), function(all, counts) {
    case <- counts[place]
    contrasts(rows, weigh(case) * case)
  }, R = replicates, stype = "f")
  scales <- names(contrasts(rows, weigh(rep(1, nrow(rows)))))
  for (i in seq_along(scales)) {
    keep(name, paste(scales[i], "std_error"), sd(drawn$t[, i]))
    for (at in c(lower = 0.025, upper = 0.975)) {
      keep(name, paste(scales[i], if (at < 0.5) "lower" else "upper"), quantile(drawn$t[, i], at))
    }
  }
}
matched <- read.csv("matched.csv")
used <- matched[matched$weight > 0, ]
cluster <- used$set
repeat {
  before <- cluster
  cluster <- ave(ave(cluster, used$person, FUN = min), used$set, FUN = min)
  if (all(cluster == before)) break
}
study("matched", used, cluster, function(case) used$weight)

weighted <- read.csv("weighted.csv")
x <- cbind(1, weighted$x1, weighted$x2)
treated <- weighted$treated == 1
score <- function(case) {
  fit <- suppressWarnings(glm.fit(x, weighted$treated, weights = case, family = quasibinomial()))
  plogis(c(x %*% coef(fit)))
}
study("att_plain", weighted, weighted$person, function(case) { e <- score(case); ifelse(treated, 1, e / (1 - e)) })
study("ate_plain", weighted, weighted$person, function(case) { e <- score(case); ifelse(treated, 1 / e, 1 / (1 - e)) })
study("ATO", weighted, weighted$person, function(case) { e <- score(case); ifelse(treated, 1 - e, e) })

values$value <- format(values$value, digits = 15, trim = TRUE)
write.csv(values, "bootstrap_values.csv", row.names = FALSE, quote = FALSE)
writeLines(c(R.version.string, paste("boot", packageVersion("boot"))), "bootstrap_versions.txt")
