# Reference values for the bands of models/times/limits.py. Run in this folder: Rscript make_bands.R
# Reads matched.csv of ../effects (simulated there, no patient), writes bands.csv and bands_versions.txt.
#
# The multiplier of a band of equal precision is the 95 % point of the largest absolute standardised error over the days
# from the tenth event on (Lin 1997, Stat Med 16:901). Incidence: survfit's own residuals, summed within clusters and
# multiplied with normal numbers. Kaplan-Meier: independent increments of Greenwood's variance (Nair 1984), which no
# residual enters. 400,000 draws: a multiplier is 0.1 % uncertain.
suppressPackageStartupMessages(library(survival))
options(warn = 2, digits = 17)
set.seed(20261124)
draws <- 400000
values <- data.frame(data = character(), quantity = character(), value = numeric())
keep <- function(data, quantity, value) values[nrow(values) + 1, ] <<- list(data, quantity, unname(value))
state <- function(event) factor(event, 0:2, c("censored", "readmitted", "died"))
largest <- function(times, simulate) {
  top <- numeric(0)
  for (part in seq_len(draws / 4000)) top <- c(top, simulate(4000))
  quantile(top, 0.95)
}

matched <- read.csv("../effects/matched.csv")
used <- matched[matched$weight > 0, ]
cluster <- used$set
repeat {                                                    # sets that share a person become one cluster
  before <- cluster
  cluster <- ave(ave(cluster, used$person, FUN = min), used$set, FUN = min)
  if (all(cluster == before)) break
}
for (arm in c("treated", "control")) {
  here <- used$treated == (arm == "treated")
  rows <- used[here, ]
  is_event <- rows$event == 1
  days <- sort(unique(rows$day[is_event]))
  days <- days[sapply(days, function(day) sum(is_event & rows$day <= day)) >= 10]
  fit <- survfit(Surv(day, state(event)) ~ 1, data = rows, weights = weight, robust = TRUE)
  moves <- rowsum(residuals(fit, times = days, type = "pstate", weighted = TRUE)[, , 2], cluster[here])
  moves <- sweep(moves, 2, sqrt(colSums(moves^2)), "/")
  simulate <- function(n) {
    normal <- matrix(rnorm(n * nrow(moves)), n)
    apply(abs(normal %*% moves), 1, max)
  }
  keep("incidence", arm, largest(days, simulate))

  is_event <- rows$event > 0
  days <- sort(unique(rows$day[is_event]))
  days <- days[sapply(days, function(day) sum(is_event & rows$day <= day)) >= 10]
  fit <- survfit(Surv(day, event > 0) ~ 1, data = rows)
  variance <- summary(fit, times = days)
  variance <- (variance$std.err / variance$surv)^2          # Greenwood's sum
  keep("kaplan_meier", paste(arm, "from"), days[1])
  simulate <- function(n) {
    steps <- matrix(rnorm(n * length(days)), n) %*% diag(sqrt(diff(c(0, variance))))
    apply(abs(t(apply(steps, 1, cumsum))) %*% diag(1 / sqrt(variance)), 1, max)
  }
  keep("kaplan_meier", arm, largest(days, simulate))
}
values$value <- format(values$value, digits = 15, trim = TRUE)
write.csv(values, "bands.csv", row.names = FALSE, quote = FALSE)
writeLines(c(R.version.string, paste("survival", packageVersion("survival"))), "bands_versions.txt")
