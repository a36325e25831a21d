# matched.csv, weighted.csv -> gee_values.csv: weighted comparisons by R's geepack, independence working correlation,
# errors clustered and weights taken as fixed. Run in this folder: Rscript make_gee_values.R
# Debian 12: apt-get install --no-install-recommends r-base-core r-cran-geepack
library(geepack)

values <- data.frame()
keep <- function(data, quantity, value) {
  values <<- rbind(values, data.frame(data = data, quantity = quantity, value = format(value, digits = 15, trim = TRUE)))
}
scales <- list(
  list("y", "risk_difference", "identity"), list("y", "risk_ratio", "log"), list("y", "odds_ratio", "logit"),
  list("z", "mean_difference", "identity"), list("z", "mean_ratio", "log")
)
# The variance function plays no part in a comparison of two means: gaussian with the link for all, binomial for odds.
compare <- function(name, data, weight, cluster) {
  data$weight <- weight
  data$cluster <- cluster
  data <- data[data$weight > 0, ]
  data <- data[order(data$cluster), ]
  for (scale in scales) {
    data$outcome <- data[[scale[[1]]]]
    means <- tapply(data$weight * data$outcome, data$treated, sum) / tapply(data$weight, data$treated, sum)
    link <- switch(scale[[3]], identity = identity, log = log, logit = qlogis)
    start <- c(link(means[[1]]), link(means[[2]]) - link(means[[1]]))
    family <- if (scale[[3]] == "logit") binomial else gaussian(scale[[3]])
    fit <- suppressWarnings(geese(
      outcome ~ treated, id = cluster, weights = weight, data = data, family = family, corstr = "independence",
      b = start, control = geese.control(epsilon = 1e-12, maxit = 200)
    ))
    keep(name, paste(scale[[2]], "value"), if (scale[[3]] == "identity") fit$beta[[2]] else exp(fit$beta[[2]]))
    keep(name, paste(scale[[2]], "std_error"), sqrt(fit$vbeta[2, 2]))
    keep(name, "n_clusters", length(unique(data$cluster)))
  }
}
weighted <- read.csv("weighted.csv", comment.char = "#")
for (name in c("att_plain", "ate_plain")) {
  compare(name, weighted, weighted[[paste0("weight_", name)]], weighted$person)
}

matched <- read.csv("matched.csv", comment.char = "#")
# Sets that share a person are one cluster.
cluster <- matched$set
repeat {
  joined <- ave(ave(cluster, matched$person, FUN = min), matched$set, FUN = min)
  if (all(joined == cluster)) break
  cluster <- joined
}
compare("matched", matched, matched$weight, cluster)

values <- unique(values)
versions <- c(R = R.version.string, geepack = as.character(packageVersion("geepack")))
writeLines(paste(names(versions), versions), "gee_versions.txt")
write.csv(values, "gee_values.csv", row.names = FALSE, quote = FALSE)
