"""Effect methods for times: first events with death competing, under weights, matched sets and repeated persons."""
