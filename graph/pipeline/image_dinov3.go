package pipeline

var _ = registerImageProcessor("DINOv3ViTImageProcessor", hfStretch(224, Bilinear, ImageNetMean, ImageNetStd))
