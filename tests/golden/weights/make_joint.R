# Reference values for models/weighting/overidentified.py. Run in this folder: Rscript make_joint.R
# Reads ../design/lalonde.csv (public); writes joint.csv and joint_versions.txt.
#
# The package CBPS is not in Debian, so its two-step estimator (Imai & Ratkovic 2014, JRSS B 76:243, equations 10 to 14)
# is written out: score and balance moments, weighed by the inverse of their covariance given the covariates at glm's
# coefficients; the distance is minimised from there by optim.
options(warn = 2, digits = 17)
d <- read.csv("../design/lalonde.csv", comment.char = "#")
x <- with(d, cbind(age, educ, race == "black", race == "hispan", married, nodegree, re74, re75))
x <- cbind(1, scale(x)); arm <- d$treat; n <- nrow(d); share <- mean(arm); q <- ncol(x)
start <- coef(glm(arm ~ x - 1, family = binomial(), control = glm.control(epsilon = 1e-14, maxit = 100)))
values <- data.frame(data = character(), quantity = character(), value = numeric())
keep <- function(data, quantity, value) values[nrow(values) + 1, ] <<- list(data, quantity, unname(value))
for (estimand in c("ATT", "ATC", "ATE")) {
  balance <- function(e) switch(estimand, ATT = (arm - e) / (1 - e) / share, ATC = (arm - e) / e / (1 - share),
                                ATE = (arm - e) / (e * (1 - e)))
  moments <- function(b) { e <- plogis(x %*% b)[, 1]; c(crossprod(x, arm - e), crossprod(x, balance(e))) / n }
  e <- plogis(x %*% start)[, 1]
  # the covariance of (arm - e, balance) given x, from the two values that the arm can take
  two <- function(f, g) e * f(1, e) * g(1, e) + (1 - e) * f(0, e) * g(0, e)
  fits <- function(a, e) a - e
  balances <- function(a, e) switch(estimand, ATT = (a - e) / (1 - e) / share, ATC = (a - e) / e / (1 - share),
                                    ATE = (a - e) / (e * (1 - e)))
  cross <- function(by) crossprod(x, x * by) / n
  omega <- rbind(cbind(cross(two(fits, fits)), cross(two(fits, balances))),
                 cbind(cross(two(fits, balances)), cross(two(balances, balances))))
  precision <- solve(omega)
  distance <- function(b) { m <- moments(b); n * sum(m * (precision %*% m)) }
  b <- start
  for (k in 1:20) b <- optim(b, distance, method = "BFGS", control = list(reltol = 1e-16, maxit = 5000, ndeps = rep(1e-5, q)))$par
  keep(estimand, "j", distance(b)); keep(estimand, "freedom", q); keep(estimand, "p", pchisq(distance(b), q, lower.tail = FALSE))
  e <- plogis(x %*% b)[, 1]
  for (row in c(0, 100, 500)) keep(estimand, paste("score", row), e[row + 1])
}
values$value <- format(values$value, digits = 15, trim = TRUE)
write.csv(values, "joint.csv", row.names = FALSE, quote = FALSE)
writeLines(R.version.string, "joint_versions.txt")
