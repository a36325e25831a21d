# -> people.csv (simulated, no patient), imputed.csv: what R's mice makes of gaps, in distribution. Run in this folder:
# Rscript make_imputed.R
# Debian 12: apt-get install --no-install-recommends r-base-core r-cran-mice
#
# 1,000 copies by mice's own methods: predictive mean matching with 5 donors, logistic regression, polytomous regression.
# Of each statistic: its mean over the copies and how much the copies differ (standard deviation).
suppressPackageStartupMessages(library(mice, warn.conflicts = FALSE))
set.seed(20261124)
n <- 500
copies <- 1000
z <- round(rnorm(n), 4)
treated <- rbinom(n, 1, plogis(-1 + 0.6 * z))
stays <- rpois(n, exp(0.5 + 0.4 * z + 0.3 * treated))
x <- round(2 + z + 0.5 * treated + rnorm(n), 4)
b <- rbinom(n, 1, plogis(-0.3 + 0.6 * z + 0.4 * (x - 2)))
level <- ifelse(runif(n) < plogis(-0.5 + 0.7 * z), 2, rbinom(n, 1, plogis(0.4 * (x - 2))))
people <- data.frame(treated, z, x, stays, b, level)
hide <- function(share, slope) runif(n) < plogis(qlogis(share) + slope * z + 0.5 * treated)   # given what is seen
people$x[hide(0.25, 0.5)] <- NA
people$stays[hide(0.15, 0.5)] <- NA
people$b[hide(0.2, -0.5)] <- NA
people$level[hide(0.2, 0.5)] <- NA
write.csv(people, "people.csv", row.names = FALSE, quote = FALSE, na = "")

given <- people
given$b <- factor(given$b)
given$level <- factor(given$level)
methods <- c(treated = "", z = "", x = "pmm", stays = "pmm", b = "logreg", level = "polyreg")
imputed <- mice(given, m = copies, maxit = 10, method = methods, printFlag = FALSE, seed = 1)
statistics <- function(one) {
  one$b <- as.numeric(as.character(one$b))
  one$level <- as.numeric(as.character(one$level))
  of_x <- coef(lm(x ~ z + treated + b + stays, one))
  of_b <- coef(glm(b ~ z + x, binomial, one))
  of_treated <- coef(glm(treated ~ z + x + stays + b + I(level == 1) + I(level == 2), binomial, one))
  c(mean_x = mean(one$x), sd_x = sd(one$x), mean_stays = mean(one$stays), sd_stays = sd(one$stays), mean_b = mean(one$b),
    share_1 = mean(one$level == 1), share_2 = mean(one$level == 2),
    x_on_z = of_x[["z"]], x_on_treated = of_x[["treated"]], x_on_b = of_x[["b"]], x_on_stays = of_x[["stays"]],
    b_on_z = of_b[["z"]], b_on_x = of_b[["x"]], treated_on_x = of_treated[["x"]],
    treated_on_level_2 = of_treated[["I(level == 2)TRUE"]])
}
found <- sapply(seq_len(copies), function(k) statistics(complete(imputed, k)))
rows <- data.frame(statistic = c("version", "version", "version", rownames(found)),
                   mean = c(R.version.string, paste("mice", packageVersion("mice")), paste("copies", copies),
                            format(rowMeans(found), digits = 12, trim = TRUE)),
                   between_sd = c("", "", "", format(apply(found, 1, sd), digits = 12, trim = TRUE)))
write.csv(rows, "imputed.csv", row.names = FALSE, quote = FALSE)
