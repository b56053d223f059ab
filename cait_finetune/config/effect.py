def without_old_defaults(config):
    return config
