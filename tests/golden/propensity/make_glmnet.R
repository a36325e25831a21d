# Reference values for models/propensity/elastic_net.py: R's glmnet on ../design/lalonde.csv. Run in this folder:
# Rscript make_glmnet.R. Writes values.csv and versions.txt.
suppressPackageStartupMessages(library(glmnet))
options(warn = 2, digits = 17)
people <- read.csv("../design/lalonde.csv", comment.char = "#", stringsAsFactors = FALSE)
people$black <- as.numeric(people$race == "black")
people$hispan <- as.numeric(people$race == "hispan")
x <- as.matrix(people[, c("age", "educ", "black", "hispan", "married", "nodegree", "re74", "re75")])
y <- people$treat
fold <- (seq_len(nrow(x)) - 1) %% 5 + 1
lambda <- exp(seq(log(0.25), log(0.0005), length.out = 25))

values <- data.frame(data = character(), quantity = character(), value = numeric())
keep <- function(data, quantity, value) {
  values <<- rbind(values, data.frame(data = data, quantity = quantity, value = unname(value)))
}
for (mixing in c(1, 0.5)) {
  name <- paste0("mixing_", mixing)
  fit <- glmnet(x, y, family = "binomial", alpha = mixing, lambda = lambda, thresh = 1e-16, maxit = 1e7)
  for (k in seq_along(lambda)) {
    keep(name, paste("intercept", k), fit$a0[k])
    keep(name, paste(colnames(x), k), fit$beta[, k])
  }
  cv <- cv.glmnet(x, y, family = "binomial", alpha = mixing, lambda = lambda, foldid = fold, type.measure = "deviance",
                  thresh = 1e-16, maxit = 1e7)
  keep(name, paste("deviance", seq_along(lambda)), cv$cvm)
  keep(name, paste("deviance_error", seq_along(lambda)), cv$cvsd)
  keep(name, "best", which(lambda == cv$lambda.min))
  keep(name, "one_se", which(lambda == cv$lambda.1se))
  # The largest penalty at which anything enters
  first <- glmnet(x, y, family = "binomial", alpha = mixing, nlambda = 5, thresh = 1e-16)
  keep(name, "first_lambda", max(first$lambda))
}
keep("lambda", seq_along(lambda), lambda)
values$value <- format(values$value, digits = 15, trim = TRUE)
write.csv(values, "values.csv", row.names = FALSE, quote = FALSE)
writeLines(c(R.version.string, paste("glmnet", as.character(packageVersion("glmnet")))), "versions.txt")
