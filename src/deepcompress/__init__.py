"""deepcompress: prune, quantize and distil an image classifier, and compare the results under equal terms."""
