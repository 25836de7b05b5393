from mmengine.model import normal_init

normal_init(model, mean=0, std=0.01, bias=0)
