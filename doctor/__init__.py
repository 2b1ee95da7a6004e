"""What a machine, its software and a bundle can do together: `wan-trt doctor`."""
