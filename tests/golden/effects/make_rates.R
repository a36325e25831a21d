# Rates by packages that solve them in another way, and days in hospital under a Tweedie variance. Run in this folder,
# after make_counts.R: Rscript make_rates.R. Reads counts.csv (simulated there); writes rates_values.csv and
# rates_versions.txt.
#
# geepack: estimating equations of a Poisson with the log of the time at risk as offset, independence working
# correlation, errors clustered by person or by joined matched sets, weights as fixed. gnm: the same rates as a quasi-
# Poisson fitted by another optimiser, its dispersion, and the clustered error from its scores and its covariance.
# statmod::tweedie: the ratio of mean days, half of them 0, under a log link, with sandwich's clustered error. In a comparison of two arms the variance
# function plays no part in the ratio or its robust error, which two powers show.
# Debian 12: apt-get install --no-install-recommends r-base-core r-cran-geepack r-cran-gnm r-cran-statmod r-cran-sandwich
suppressPackageStartupMessages({library(geepack); library(gnm); library(statmod); library(sandwich)})
options(digits = 17)

people <- read.csv("counts.csv")
values <- data.frame(data = character(), quantity = character(), value = numeric())
keep <- function(data, quantity, value) values[nrow(values) + 1, ] <<- list(data, quantity, unname(value))

join_sets <- function(rows) {
  cluster <- rows$set
  repeat {
    before <- cluster
    cluster <- ave(ave(cluster, rows$person, FUN = min), rows$set, FUN = min)
    if (all(cluster == before)) return(cluster)
  }
}
for (name in c("plain", "matched", "att", "ate")) {
  people$weight <- switch(name, plain = rep(1, nrow(people)), matched = people$matched, people[[paste0("weight_", name)]])
  rows <- people[people$weight > 0, ]
  rows$cluster <- if (name == "matched") join_sets(rows) else rows$person
  rows <- rows[order(rows$cluster), ]
  keep(name, "n_clusters", length(unique(rows$cluster)))

  fit <- suppressWarnings(geese(                            # weights that are no whole numbers
    n ~ treated + offset(log(years)), id = cluster, weights = weight, data = rows, family = poisson,
    corstr = "independence", control = geese.control(epsilon = 1e-13, maxit = 200)
  ))
  b <- fit$beta
  rate <- exp(c(b[[1]] + b[[2]], b[[1]]))
  slope <- c(rate[1] - rate[2], rate[1])                    # of the difference, in intercept and log ratio
  keep(name, "geepack ratio value", exp(b[[2]]))
  keep(name, "geepack ratio std_error", sqrt(fit$vbeta[2, 2]))
  keep(name, "geepack difference value", rate[1] - rate[2])
  keep(name, "geepack difference std_error", sqrt(c(slope %*% fit$vbeta %*% slope)))

  fit <- gnm(n ~ treated + offset(log(years)), family = quasipoisson, weights = weight, data = rows, verbose = FALSE,
             tolerance = 1e-14, iterMax = 500)
  keep(name, "gnm ratio value", exp(coef(fit)[["treated"]]))
  dispersion <- summary(fit)$dispersion
  scores <- rowsum(model.matrix(fit) * rows$weight * (rows$n - fitted(fit)), rows$cluster)
  bread <- unclass(vcov(fit)) / dispersion                  # sandwich has no bread for gnm
  keep(name, "gnm ratio std_error", sqrt((bread %*% crossprod(scores) %*% bread)[2, 2]))
  keep(name, "gnm dispersion", dispersion * (nrow(rows) - 2) / sum(rows$weight))

  for (power in c(1.2, 1.7)) {
    fit <- glm(days ~ treated, family = tweedie(var.power = power, link.power = 0), weights = weight, data = rows,
               control = glm.control(epsilon = 1e-14, maxit = 200))
    quantity <- paste("tweedie", power, "ratio")
    keep(name, paste(quantity, "value"), exp(coef(fit)[["treated"]]))
    keep(name, paste(quantity, "std_error"),
         sqrt(vcovCL(fit, cluster = rows$cluster, type = "HC0", cadjust = FALSE)["treated", "treated"]))
  }
}
values$value <- format(values$value, digits = 15, trim = TRUE)
write.csv(values, "rates_values.csv", row.names = FALSE, quote = FALSE)
packages <- c("geepack", "gnm", "statmod", "sandwich")
writeLines(c(R.version.string, sapply(packages, function(name) paste(name, packageVersion(name)))), "rates_versions.txt")
