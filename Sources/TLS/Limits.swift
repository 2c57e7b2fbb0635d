package enum TLSLimits {
    /// From the connection to the end of the handshake: a slow mobile network with losses.
    package static let handshakeSeconds = 60
    /// Handshakes under way; above it the oldest is dropped. One holds about 40 KiB.
    package static let handshakeCountMax = 1_024
    /// How long a connection waits for a martlet-login that is being started anew.
    package static let loginWaitSeconds = 5
    /// What one step of a relay carries in one direction; a TLS record's content at most. Only a
    /// receiver that does not take it makes it be kept, and then no more is read.
    package static let relayBytesMax = 16_384
    /// A certificate made by ourselves, for people who serve their own Maildir on this host.
    package static let madeCertificateDays = 3_650
    /// Certificates in one file.
    package static let chainCountMax = 16
}
