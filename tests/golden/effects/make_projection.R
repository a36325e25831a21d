# Best linear projections on doubly robust scores, and p-values for several tests, by R. Writes projection.csv (the data)
# and projection_values.csv. Run: Rscript make_projection.R
suppressMessages(library(sandwich))
set.seed(20260901)
n <- 120
data <- data.frame(
  x1 = round(rnorm(n), 3), x2 = as.numeric(runif(n) < 0.4), cluster = rep(1:80, length.out = n),
  treated = as.numeric(runif(n) < 0.4), contribution = round(rnorm(n, 0.5, 2), 3)
)
write.csv(data, "projection.csv", row.names = FALSE)
rows <- list()
add <- function(case, value, error) rows[[length(rows) + 1]] <<- data.frame(case, term = seq_along(value), value, error)
fit <- lm(contribution ~ x1 + x2, data)
add("ate_single", coef(fit), sqrt(diag(vcovHC(fit, type = "HC3"))))
add("ate_cluster", coef(fit), sqrt(diag(vcovCL(fit, cluster = data$cluster, type = "HC3", cadjust = TRUE))))
# The ATT counts the treated only: an instrumental regression whose regressor is treated * A and whose instrument is A,
# deleted cluster by cluster.
A <- model.matrix(~ x1 + x2, data)
solve_att <- function(keep) solve(t(A[keep, ]) %*% (A * data$treated)[keep, ], t(A[keep, ]) %*% data$contribution[keep])
whole <- solve_att(rep(TRUE, n))
moved <- sapply(unique(data$cluster), function(g) solve_att(data$cluster != g) - whole)
add("att_cluster", whole, sqrt(diag(moved %*% t(moved))))
p <- c(0.04, 0.001, 0.03, 0.5, 0.02)
add("holm", p.adjust(p, "holm"), NA)
add("benjamini_hochberg", p.adjust(p, "BH"), NA)
write.csv(do.call(rbind, rows), "projection_values.csv", row.names = FALSE)
writeLines(c(R.version.string, paste("sandwich", packageVersion("sandwich"))), "projection_versions.txt")
