package import Posix

/// A password on its way between processes: a `Secret` that messages can carry.
///
/// Swift 6.3 cannot yet match enum cases that hold several values, one of them noncopyable, so the
/// secret sits in a box that is passed by reference: there is still one copy, wiped when the last
/// message that names it goes; and printing the box prints its type.
package final class Password: Sendable, Equatable, CustomStringConvertible {
    private let secret: Secret

    package init(_ secret: consuming Secret) { self.secret = secret }

    package var description: String { "Password" }

    package func reveal<Result>(_ body: ([UInt8]) -> Result) -> Result { secret.reveal(body) }

    package var isEmpty: Bool { secret.count == 0 }
    package var containsNUL: Bool { secret.reveal { $0.contains(0) } }

    /// In a time that depends on the lengths alone.
    package static func == (left: Password, right: Password) -> Bool {
        right.secret.reveal { left.secret.equals($0) }
    }
}

extension FrameWriter {
    mutating func write(_ password: Password) {
        write(password.reveal { $0 }, max: FieldLimits.passwordBytesMax)
    }
}

extension FrameReader {
    mutating func password() throws(FrameError) -> Password {
        Password(Secret(try bytes(max: FieldLimits.passwordBytesMax)))
    }
}
