"""AWS: one thin class per service, one call (with its paging) per method.

``AwsSession`` gives them, per region. botocore is imported only by the modules in here, and these only when a command
needs AWS: ``dss --help`` stays quick.
"""
