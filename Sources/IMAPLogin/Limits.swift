// A stranger before login gets far less room than a user: there may be thousands of them.

package enum LoginLimits {
    /// A line of a command, or the answer to a SASL challenge. RFC 7162 §4 wants 8,192 at least.
    package static let lineBytesMax = 8_192
    /// A literal: only user names and passwords have a use for one.
    package static let literalBytesMax = 4_096
    /// Everything held for one connection: a command with its literals and what is pipelined.
    package static let heldBytesMax = 16_384
    /// Long enough for any client; it is sent back in every answer.
    package static let tagBytesMax = 256
    /// RFC 2971 §3.3: not more than 30 field-value pairs.
    package static let idPairCountMax = 30
    /// Commands that are wrong, before the connection is closed: a client has few; a scanner,
    /// or another protocol, sends nothing else.
    package static let badCommandCountMax = 10
    /// From the greeting to the login. Thunderbird asks for the password before it connects;
    /// people who type on a command line need the rest.
    package static let conversationSeconds = 180
    /// Answered by martlet-auth: user names and passwords longer than it takes are wrong.
    package static let userNameBytesMax = 1_024
    package static let passwordBytesMax = 512
}
