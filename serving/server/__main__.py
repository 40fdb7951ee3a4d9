"""`python -m serving.server`: see `--help`."""

import gc
import os
import sys

# Before TensorFlow and gRPC are imported, which read these once; who sets them keeps them.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# oneDNN's own allocator never gives memory back: without this a swap would leave the size of two models for ever.
os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")

if __name__ == "__main__":
    # A fifth of what the imports take is looking for garbage, of which they make none.
    gc.set_threshold(20_000, 10, 10)
    import warnings

    from serving.server.app import main

    warnings.simplefilter("ignore")
    # The loops that take requests on must not wait 5 ms for each thread that is at one: in a flood they wouldn't even
    # come to refuse.
    sys.setswitchinterval(0.0005)
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: a request that outlasted the grace would hold it up, and TensorFlow's threads may abort it.
    os._exit(code)
