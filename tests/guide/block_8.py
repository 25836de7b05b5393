from mmengine.model import kaiming_init, xavier_init

kaiming_init(model)
xavier_init(model)
