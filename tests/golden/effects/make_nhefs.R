# Reference values for observation weights on published data. Run in this folder: Rscript make_nhefs.R
# Reads tests/data/nhefs (SOURCE.md there); writes nhefs_values.csv and nhefs_versions.txt. Model of Hernan & Robins, What
# If, chapter 12: the effect of quitting in all 1,629 smokers, of whom 63 were not weighed in 1982. The book takes one
# model of who was weighed for both arms (section 12.6: 3.5 kg); models/observation.py one an arm, with the design's weights.
options(warn = 1, digits = 17)
folder <- "../../data/nhefs/"
people <- rbind(read.csv(paste0(folder, "nhefs_complete.csv")), read.csv(paste0(folder, "nhefs_unobserved.csv")))
people$seen <- as.numeric(!is.na(people$wt82_71))
stopifnot(nrow(people) == 1629, sum(people$seen) == 1566)
covariates <- ~ factor(sex) + factor(race) + age + I(age^2) + factor(education) + smokeintensity + I(smokeintensity^2) +
  smokeyrs + I(smokeyrs^2) + factor(exercise) + factor(active) + wt71 + I(wt71^2)
control <- glm.control(epsilon = 1e-14, maxit = 100)
quit <- people$qsmk == 1
score <- fitted(glm(update(covariates, qsmk ~ .), data = people, family = binomial(), control = control))
people$weight <- ifelse(quit, 1 / score, 1 / (1 - score))
difference <- function(weight) {
  seen <- people$seen == 1
  mean_of <- function(arm) sum((weight * people$wt82_71)[seen & arm]) / sum(weight[seen & arm])
  mean_of(quit) - mean_of(!quit)
}
in_common <- fitted(glm(update(covariates, seen ~ . + qsmk), data = people, family = binomial(), control = control))
by_arm <- rep(NA, nrow(people))
for (arm in c(TRUE, FALSE)) {
  here <- people[quit == arm, ]
  by_arm[quit == arm] <- fitted(glm(update(covariates, seen ~ .), data = here, weights = weight,
                                    family = quasibinomial(), control = control))
}
values <- data.frame(data = "nhefs", quantity = c("left out", "one model for both arms", "one model an arm"),
                     value = c(difference(people$weight), difference(people$weight / in_common),
                               difference(people$weight / by_arm)))
values$value <- format(values$value, digits = 15, trim = TRUE)
write.csv(values, "nhefs_values.csv", row.names = FALSE, quote = FALSE)
writeLines(R.version.string, "nhefs_versions.txt")
