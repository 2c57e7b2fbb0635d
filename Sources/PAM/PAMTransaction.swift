import CPAM
import Glibc
import Posix

/// One transaction with PAM: a user, a password, an answer. Blocks as long as its modules do, so
/// it lives in a process of its own.
@safe
package final class PAMTransaction {
    private let handle: OpaquePointer
    private let answers: Answers
    private var status: CInt = PAM_SUCCESS
    private var hasSession = false
    private var hasCredentials = false

    /// What modules ask for in the conversation.
    private final class Answers {
        let user: [UInt8]
        let password: [UInt8]

        init(user: [UInt8], password: [UInt8]) {
            self.user = user
            self.password = password
        }
    }

    /// - Parameters:
    ///   - service: the name of the file in /etc/pam.d.
    ///   - user: the name typed, without a domain.
    ///   - password: what was typed.
    ///   - remoteAddress: for `PAM_RHOST`.
    /// - Returns: nil where PAM itself does not work; the log has said why.
    package init?(service: [UInt8], user: [UInt8], password: [UInt8], remoteAddress: [UInt8]) {
        answers = Answers(user: user, password: password)
        var conversation = unsafe pam_conv(
            conv: converse,
            appdata_ptr: Unmanaged.passUnretained(answers).toOpaque()
        )
        var started: OpaquePointer?
        let code = unsafe pam_start(cString(service), cString(user), &conversation, &started)
        guard code == PAM_SUCCESS, let started = unsafe started else {
            Log.error("event=pam-error call=pam_start code=\(code)")
            return nil
        }
        unsafe handle = started
        set(PAM_RHOST, remoteAddress)
        set(PAM_TTY, Array("martlet".utf8))
        // Our own delay comes after every failure and does not tell which; a module's would hold
        // up this process.
        let noDelay: @convention(c) (CInt, CUnsignedInt, UnsafeMutableRawPointer?) -> Void = {
            _,
            _,
            _ in
        }
        _ = unsafe pam_set_item(
            handle,
            PAM_FAIL_DELAY,
            unsafeBitCast(noDelay, to: UnsafeRawPointer.self)
        )
    }

    deinit {
        if hasSession { unsafe pam_close_session(handle, CInt(PAM_SILENT)) }
        if hasCredentials { unsafe pam_setcred(handle, CInt(PAM_DELETE_CRED | PAM_SILENT)) }
        unsafe pam_end(handle, status)
    }

    /// authenticate, acct_mgmt, setcred.
    package func check() -> PAMOutcome {
        let flags = CInt(PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK)
        status = unsafe pam_authenticate(handle, flags)
        guard status == PAM_SUCCESS else { return failure("pam_authenticate") }
        status = unsafe pam_acct_mgmt(handle, flags)
        guard status == PAM_SUCCESS else { return failure("pam_acct_mgmt") }
        status = unsafe pam_setcred(handle, CInt(PAM_ESTABLISH_CRED | PAM_SILENT))
        guard status == PAM_SUCCESS else {
            complain("pam_setcred")
            return .unavailable
        }
        hasCredentials = true
        return .success
    }

    /// Opens a session, which ends with this object.
    package func openSession() -> Bool {
        status = unsafe pam_open_session(handle, CInt(PAM_SILENT))
        guard status == PAM_SUCCESS else {
            complain("pam_open_session")
            return false
        }
        hasSession = true
        return true
    }

    /// The user's name as the modules left it.
    package var user: [UInt8] {
        var item: UnsafeRawPointer?
        guard unsafe pam_get_item(handle, PAM_USER, &item) == PAM_SUCCESS,
            let name = unsafe item?.assumingMemoryBound(to: CChar.self)
        else { return answers.user }
        return unsafe Array(String(cString: name).utf8)
    }

    private func failure(_ call: StaticString) -> PAMOutcome {
        let outcome = PAMOutcome(code: status)
        if outcome == .unavailable { complain(call) }
        return outcome
    }

    private func complain(_ call: StaticString) {
        let reason = unsafe pam_strerror(handle, status).map { unsafe String(cString: $0) } ?? ""
        Log.error(
            "event=pam-error call=\(call) code=\(status)"
                + " reason=\(Array(reason.utf8).quotedForLog) user=\(answers.user.quotedForLog)"
        )
    }

    private func set(_ item: CInt, _ value: [UInt8]) {
        let code = unsafe pam_set_item(handle, item, cString(value))
        if code != PAM_SUCCESS { complain("pam_set_item") }
    }

    /// Answers the prompts of a module: hidden ones with the password, others with the user name.
    fileprivate static func answer(
        style: CInt,
        of argument: UnsafeMutableRawPointer
    ) -> [UInt8]?? {
        let answers = unsafe Unmanaged<Answers>.fromOpaque(argument).takeUnretainedValue()
        return switch style {
        case PAM_PROMPT_ECHO_OFF: answers.password
        case PAM_PROMPT_ECHO_ON: answers.user
        case PAM_TEXT_INFO, PAM_ERROR_MSG: .some(nil)
        default: nil
        }
    }
}

private func cString(_ bytes: [UInt8]) -> [CChar] { bytes.map { CChar(bitPattern: $0) } + [0] }

/// PAM's conversation function. The responses are malloc'ed; PAM frees them.
private func converse(
    _ count: CInt,
    _ messages: UnsafeMutablePointer<UnsafePointer<pam_message>?>?,
    _ responses: UnsafeMutablePointer<UnsafeMutablePointer<pam_response>?>?,
    _ argument: UnsafeMutableRawPointer?
) -> CInt {
    guard count > 0, count <= PAMLimits.promptCountMax, let messages = unsafe messages,
        let responses = unsafe responses, let argument = unsafe argument
    else { return PAM_CONV_ERR }
    guard
        let raw = unsafe calloc(Int(count), MemoryLayout<pam_response>.stride)
    else { return PAM_BUF_ERR }
    let list = unsafe raw.bindMemory(to: pam_response.self, capacity: Int(count))
    for index in 0..<Int(count) {
        guard let message = unsafe messages[index],
            let answer = unsafe PAMTransaction.answer(
                style: message.pointee.msg_style,
                of: argument
            )
        else {
            for earlier in 0..<index { unsafe free(list[earlier].resp) }
            unsafe free(raw)
            return PAM_CONV_ERR
        }
        if let answer { unsafe list[index].resp = strdup(cString(answer)) }
    }
    unsafe responses.pointee = list
    return PAM_SUCCESS
}
