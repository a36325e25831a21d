# Reference values for models/pooling.py. Run in this folder: Rscript make_pooling.R
# Writes pooling.csv (made-up estimates of sites), pooling_values.csv and pooling_versions.txt.
suppressPackageStartupMessages(library(metafor))
options(warn = 2, digits = 17)
set.seed(20261126)
sites <- rbind(
  data.frame(data = "differ", y = round(rnorm(9, -0.05, 0.08), 4), se = round(runif(9, 0.02, 0.09), 4)),
  data.frame(data = "agree", y = round(rnorm(6, -0.1, 0.02), 4), se = round(runif(6, 0.05, 0.12), 4)),
  data.frame(data = "few", y = c(-0.21, 0.15, 0.02), se = c(0.06, 0.05, 0.2)))
write.csv(sites, "pooling.csv", row.names = FALSE)
values <- data.frame(data = character(), quantity = character(), value = numeric())
for (name in unique(sites$data)) {
  d <- sites[sites$data == name, ]
  fixed <- rma(y, sei = se, data = d, method = "FE")
  control <- list(threshold = 1e-13, maxiter = 10000)
  random <- rma(y, sei = se, data = d, method = "REML", test = "adhoc", control = control)
  tau <- confint(random, control = list(tol = 1e-12))$random
  ahead <- predict(random)
  found <- c(fixed_value = fixed$b[1], fixed_error = fixed$se, fixed_lower = fixed$ci.lb, fixed_p = fixed$pval,
             q = fixed$QE, q_p = fixed$QEp, tau2 = random$tau2, i2 = random$I2 / 100, random_value = random$b[1],
             random_error = random$se, random_lower = random$ci.lb, random_upper = random$ci.ub, random_p = random$pval,
             tau2_lower = tau[1, 2], tau2_upper = tau[1, 3], prediction_lower = ahead$pi.lb, prediction_upper = ahead$pi.ub)
  if (nrow(d) > 3) {
    without <- leave1out(random)
    found <- c(found, without_first = without$estimate[1], without_first_lower = without$ci.lb[1],
               without_last = without$estimate[nrow(d)])
  }
  values <- rbind(values, data.frame(data = name, quantity = names(found), value = unname(found)))
}
write.csv(values, "pooling_values.csv", row.names = FALSE)
writeLines(c(R.version.string, paste("metafor", packageVersion("metafor"))), "pooling_versions.txt")
