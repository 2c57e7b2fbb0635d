import CPAM

/// How PAM's calls end, as far as a login cares.
package enum PAMOutcome: Equatable, Sendable {
    case success
    /// Wrong password, unknown or locked user, or the account's rules say no.
    case failed
    /// The account or password is there and has expired.
    case expired
    /// A module, or what it asks, does not work.
    case unavailable

    /// The meaning of a return value of pam_authenticate or pam_acct_mgmt.
    package init(code: CInt) {
        self =
            switch code {
            case PAM_SUCCESS: .success
            case PAM_AUTH_ERR, PAM_USER_UNKNOWN, PAM_CRED_INSUFFICIENT, PAM_MAXTRIES,
                PAM_PERM_DENIED:
                .failed
            case PAM_ACCT_EXPIRED, PAM_NEW_AUTHTOK_REQD, PAM_AUTHTOK_EXPIRED, PAM_CRED_EXPIRED:
                .expired
            default: .unavailable
            }
    }
}
