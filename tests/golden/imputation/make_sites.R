# -> sites.csv: estimates of sites in each of five copies, pooled over the copies within each site by
# mice::pool.scalar and then over sites by metafor. Run in this folder: Rscript make_sites.R
# Debian 12: apt-get install --no-install-recommends r-base-core r-cran-mice r-cran-metafor
suppressPackageStartupMessages({library(mice, warn.conflicts = FALSE); library(metafor)})

copies <- 5
q <- list(
  A = c(-0.05, -0.07, -0.04, -0.065, -0.055),
  B = c(0.02, 0.05, -0.01, 0.03, 0.045),
  C = c(-0.15, -0.11, -0.18, -0.13, -0.16),
  D = c(0.09, 0.04, 0.12, 0.02, 0.07)
)
se <- list(
  A = c(0.031, 0.030, 0.033, 0.029, 0.032),
  B = c(0.052, 0.050, 0.055, 0.051, 0.053),
  C = c(0.044, 0.046, 0.041, 0.045, 0.043),
  D = c(0.071, 0.069, 0.075, 0.070, 0.072)
)
df <- c(A = 118.5, B = 40, C = 57.25, D = 21)
rows <- data.frame()
keep <- function(site, values) {
  new <- data.frame(site = site, key = names(values), value = format(unname(values), digits = 15, trim = TRUE))
  rows <<- rbind(rows, new)
}
means <- errors <- numeric()
for (site in names(q)) {
  pooled <- pool.scalar(q[[site]], se[[site]]^2, n = df[[site]] + 2, k = 2)
  error <- sqrt(pooled$t)
  half <- qt(0.975, pooled$df) * error
  keep(site, c(setNames(q[[site]], paste0("q", 1:copies)), setNames(se[[site]], paste0("se", 1:copies)),
               df_complete = df[[site]], value = pooled$qbar, std_error = error,
               lower = pooled$qbar - half, upper = pooled$qbar + half))
  means <- c(means, pooled$qbar)
  errors <- c(errors, error)
}
fixed <- rma(means, sei = errors, method = "FE")
random <- rma(means, sei = errors, method = "REML", test = "adhoc", control = list(threshold = 1e-12, maxiter = 1000))
for (fit in c("fixed effect", "random effects")) {
  found <- if (fit == "fixed effect") fixed else random
  keep(fit, c(value = as.numeric(found$b), std_error = found$se, lower = found$ci.lb, upper = found$ci.ub,
              p_value = found$pval))
}
keep("heterogeneity", c(q = random$QE, q_p_value = random$QEp, tau_squared = random$tau2))
versions <- data.frame(site = "version", key = c("R", "mice", "metafor"),
                       value = c(R.version.string, as.character(packageVersion("mice")),
                                 as.character(packageVersion("metafor"))))
write.csv(rbind(versions, rows), "sites.csv", row.names = FALSE, quote = FALSE)
