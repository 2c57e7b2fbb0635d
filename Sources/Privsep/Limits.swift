// The bounds of what crosses a channel. A sender keeps to them; a receiver that finds them broken
// ends the sender, because only a process that was taken over, or a bug, breaks them.

/// Bounds of single fields, wherever they occur.
package enum FieldLimits {
    /// User names as typed, and canonical ones. Linux allows 32 bytes, directories like LDAP more.
    package static let userNameBytesMax = 1_024
    /// PAM modules copy passwords into buffers of `PAM_MAX_RESP_SIZE`; nobody types more.
    package static let passwordBytesMax = 512
    /// PATH_MAX.
    package static let pathBytesMax = 4_096
    /// `[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255%interfacename]:65535`, with room.
    package static let endpointBytesMax = 96
    /// `TLSv1.3`, `TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256`, `AUTHENTICATE`.
    package static let wordBytesMax = 64
    /// What the IMAP grammar lets a client call its command; longer tags are refused before login.
    package static let tagBytesMax = 256
    /// Commands that a client pipelined behind its login. Equal to what a conversation before
    /// login holds at most (`IMAPLogin`).
    package static let leftoverBytesMax = 16_384
    /// `NGROUPS_MAX` is 65,536; 4,096 is eight times what any directory here was seen to give,
    /// and still a frame of 16 KiB. A user with more is refused, with a line in the log.
    package static let groupCountMax = 4_096
    /// One PEM file: an RSA-4096 chain of four certificates has 8 KiB.
    package static let pemBytesMax = 65_536
    /// Names in `login_domains`.
    package static let loginDomainCountMax = 256
    /// RFC 1035 §2.3.4.
    package static let domainBytesMax = 255
    /// Why a process or session was refused, for the log.
    package static let reasonBytesMax = 512
    /// Services and similar words of the configuration.
    package static let serviceBytesMax = 64
}
