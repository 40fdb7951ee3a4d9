"""Everything that a promoter does to the world goes through these."""

from serving.promotion import files
from serving.promotion.replica import Replica

EFFECTS = [
    (files, "write_config"),
    (files, "write_journal"),
    (files, "append_audit"),
    (files, "write_share"),
    (files, "remove_version"),
    (Replica, "reload"),
]
