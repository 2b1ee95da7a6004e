"""Where a checkpoint's tensors lie and what they are called: every layout as original names.

correspondence   a tensor of the original repository and what another spelling has for it
dit_names, vae_names, clip_names, umt5_names   the tables
renamed, scaled  lazy tensor sources: other names, fp8 values times their scales
headers          names, shapes and dtypes of a weights file, without its data
weight_files     which files belong together
recognise        which part of which model some names are
tokenizers, configs   the small files beside the weights
detect           a folder -> Layout
"""
