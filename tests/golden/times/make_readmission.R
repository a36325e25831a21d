# Andersen-Gill with robust errors of the readmissions in tests/data/colorectal_readmission, chemotherapy alone.
# Rscript make_readmission.R, in this folder; survival's version goes into the file.
library(survival)
rows <- read.csv("../../data/colorectal_readmission/readmission.csv")
rows$treated <- rows$chemo == "Treated"
fit <- coxph(Surv(start, stop, event) ~ treated + cluster(id), rows, ties = "breslow")
limits <- summary(fit)$conf.int[1, ]
found <- data.frame(
  ratio = limits[["exp(coef)"]], log_error = sqrt(fit$var[1, 1]), lower = limits[["lower .95"]],
  upper = limits[["upper .95"]], survival = as.character(packageVersion("survival"))
)
write.csv(format(found, digits = 15), "readmission.csv", row.names = FALSE, quote = FALSE)
