// The file is root's, so these bounds catch mistakes, not attacks.

package enum ConfigurationLimits {
    /// A configuration with every setting and generous comments is 8 KiB; a wrong file name
    /// (a device, a log) is more.
    package static let fileBytesMax = 1 << 20
    /// Addresses in one list.
    package static let listCountMax = 64
    /// As many as the channels' numbers and any machine allow.
    package static let processCountMax = 256
    /// A day.
    package static let lingerSecondsMax = 86_400
}
