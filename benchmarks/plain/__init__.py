"""The source report's protocol as a course teaches it, with torchvision: what `benchmarks.pipeline` measures against.

Images are transformed one by one by torchvision on PIL, every pass runs the whole network, every point of a sensitivity
curve is a pass over the validation images, and every student runs its teacher on every batch. Batch sizes,
optimizers, learning rates, seeds, order of images and starting weights are read from the same params.yaml and files
as the pipeline's, so that both must end with the same models.
"""
