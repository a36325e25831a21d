# -> values.csv: Rubin's rules by mice::pool.scalar. Run in this folder: Rscript make_values.R
# Debian 12: apt-get install --no-install-recommends r-base-core r-cran-mice
library(mice, warn.conflicts = FALSE)

cases <- list(
  plain = list(q = c(-0.05, -0.07, -0.04, -0.065, -0.055), u = c(0.031, 0.030, 0.033, 0.029, 0.032), n = 562),
  wide = list(q = c(0.10, 0.31, -0.12, 0.22), u = c(0.08, 0.09, 0.08, 0.085), n = 60),
  same = list(q = c(0.2, 0.2, 0.2), u = c(0.05, 0.05, 0.05), n = 102),
  endless = list(q = c(0.10, 0.31, -0.12, 0.22), u = c(0.08, 0.09, 0.08, 0.085), n = Inf)
)
rows <- data.frame()
for (name in names(cases)) {
  case <- cases[[name]]
  pooled <- pool.scalar(case$q, case$u^2, n = case$n, k = 2)
  error <- sqrt(pooled$t)
  half <- qt(0.975, pooled$df) * error
  p <- 2 * pt(-abs(pooled$qbar / error), pooled$df)
  share <- (1 + 1 / pooled$m) * pooled$b / pooled$t
  found <- c(value = pooled$qbar, std_error = error, lower = pooled$qbar - half, upper = pooled$qbar + half,
             p_value = p, df = pooled$df, missing_information = share)
  given <- c(setNames(case$q, paste0("q", seq_along(case$q))), setNames(case$u, paste0("u", seq_along(case$u))),
             df_complete = case$n - 2)
  both <- c(given, found)
  rows <- rbind(rows, data.frame(case = name, key = names(both), value = format(both, digits = 15, trim = TRUE)))
}
versions <- data.frame(case = "version", key = c("R", "mice"),
                       value = c(R.version.string, as.character(packageVersion("mice"))))
write.csv(rbind(versions, rows), "values.csv", row.names = FALSE, quote = FALSE)
