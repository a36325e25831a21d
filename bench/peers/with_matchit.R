# The people of matching_task.py from a CSV -> nearest neighbours within the caliper and site by R's MatchIt.
# Rscript with_matchit.R CSV RATIO CALIPER, the caliper in log-odds: MatchIt's own unit is another standard deviation.
suppressMessages(library(MatchIt))
given <- commandArgs(TRUE)
people <- read.csv(given[1])
people$site <- factor(people$site)
started <- proc.time()
matched <- matchit(
  t ~ 1, data = people, method = "nearest", distance = people$lp, exact = ~site, ratio = as.integer(given[2]),
  caliper = as.numeric(given[3]), std.caliper = FALSE, replace = FALSE
)
spent <- proc.time() - started
pairs <- matched$match.matrix
cat(sprintf(
  '{"seconds": %.3f, "cpu": %.3f, "sets": %d, "controls": %d, "version": "%s"}\n',
  spent[[3]], spent[[1]] + spent[[2]], sum(rowSums(!is.na(pairs)) > 0), sum(!is.na(pairs)), packageVersion("MatchIt")
))
