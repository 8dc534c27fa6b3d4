"""The limits that the daemon of this suite has, and who is who on the loopback."""

# Short, so that what ends by them ends soon; still far from what is answered at once.
HEADER_SECONDS, BODY_SECONDS = 3, 4
EVENT_BODY_BYTES, DOCUMENT_BYTES = 4 * 1024 * 1024, 8 * 1024 * 1024
CACHE_BYTES = 8 * 1024 * 1024
# These are as shipped.
HEADER_BYTES = 16 * 1024
CONNECTIONS_PER_PEER = 128

# A flood is more than the daemon takes at once, by so few that all others fit into its backlog of 128.
FLOOD, CONNECTIONS = 5_000, 4_900

# The senders' limits hold for those who misbehave; the good client comes from elsewhere.
PEERS = tuple(f"127.0.0.{last}" for last in range(2, 251))
GOOD_PEER, NEWCOMER = "127.0.1.1", "127.0.1.2"
TOKEN = "only-for-this-suite"
