package enum PAMLimits {
    /// The buffer of getpwnam_r: a passwd entry of a directory with a long comment. Doubled from
    /// 1 KiB up to this.
    package static let passwdBytesMax = 1 << 20
    /// Prompts in one call of a conversation (`PAM_MAX_NUM_MSG`).
    package static let promptCountMax = 32
}
