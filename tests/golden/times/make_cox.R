# Reference values for models/times/cox.py. Run in this folder: Rscript make_cox.R
# Writes periods.csv (simulated, no patient) and cox.csv.
suppressPackageStartupMessages(library(survival))
options(digits = 17)
set.seed(20261124)

# Recurrent events in weeks (many ties), a covariate that changes, three strata, case weights.
people <- 150
periods <- do.call(rbind, lapply(seq_len(people), function(id) {
  end <- sample(10:52, 1)
  stops <- sort(unique(c(pmin(ceiling(cumsum(rexp(4, 1 / 18))), end), end)))
  data.frame(id = id, start = c(0, head(stops, -1)), stop = stops, event = as.numeric(stops < end | runif(1) < 0.3),
             treated = id %% 2, x = round(rnorm(length(stops)), 3), stratum = id %% 3)
}))
periods$weight <- round(runif(nrow(periods), 0.2, 3), 3)
periods <- periods[sample(nrow(periods)), ]
write.csv(periods, "periods.csv", row.names = FALSE)

values <- data.frame(data = character(), quantity = character(), value = numeric())
keep <- function(data, quantity, value) values[nrow(values) + 1, ] <<- list(data, quantity, unname(value))
tight <- coxph.control(eps = 1e-14, toler.chol = 1e-15, iter.max = 60)
for (ties in c("efron", "breslow")) for (kind in c("plain", "weighted", "stratified")) {
  name <- paste(kind, ties, sep = "_")
  formula <- if (kind == "stratified") Surv(start, stop, event) ~ treated + x + strata(stratum)
             else Surv(start, stop, event) ~ treated + x
  w <- if (kind == "plain") rep(1, nrow(periods)) else periods$weight
  fit <- coxph(formula, data = periods, weights = w, cluster = id, ties = ties, control = tight)
  for (i in 1:2) {
    keep(name, paste("coefficient", i), coef(fit)[i])
    keep(name, paste("robust", i), sqrt(fit$var[i, i]))
    keep(name, paste("model", i), sqrt(fit$naive.var[i, i]))
  }
  keep(name, "log_likelihood", fit$loglik[2])
  dfbeta <- residuals(fit, type = "dfbeta", weighted = FALSE)
  for (row in c(1, 7, 100)) keep(name, paste("dfbeta of row", row), dfbeta[row, 1])
  cumulative <- basehaz(fit, centered = FALSE)
  if (kind != "stratified") keep(name, "baseline hazard to day 52", tail(cumulative$hazard, 1))
}
# R's own test of proportional hazards takes the model's covariance for true, so: without weights, rows of their own.
for (transform in c("identity", "km", "log")) for (kind in c("plain", "stratified")) {
  formula <- if (kind == "stratified") Surv(start, stop, event) ~ treated + x + strata(stratum)
             else Surv(start, stop, event) ~ treated + x
  fit <- coxph(formula, data = periods, ties = "breslow", control = tight)
  test <- cox.zph(fit, transform = transform)
  for (i in 1:2) keep(paste0(kind, "_zph"), paste(transform, i), test$table[i, "chisq"])
  keep(paste0(kind, "_zph"), paste(transform, "global"), test$table["GLOBAL", "chisq"])
}
values$value <- format(values$value, digits = 15, trim = TRUE)
write.csv(values, "cox.csv", row.names = FALSE, quote = FALSE)
writeLines(c(R.version.string, paste("survival", as.character(packageVersion("survival")))), "versions.txt")
