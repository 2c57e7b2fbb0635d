// swift-tools-version: 6.2
// SPDX-License-Identifier: ISC
import PackageDescription

let house: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableExperimentalFeature("Lifetimes"),
]

/// A layer: a library target of this package. It imports only what stands below it.
func layer(_ name: String, on dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: house)
}

/// A process: one executable, `Main.swift` and one loop.
func process(_ name: String, on dependencies: [Target.Dependency]) -> Target {
    .executableTarget(name: name, dependencies: dependencies, swiftSettings: house)
}

/// The tests of one layer. Tests may use Foundation and unsafe calls freely.
func tests(_ name: String, on dependencies: [Target.Dependency]) -> Target {
    .testTarget(
        name: name,
        dependencies: dependencies,
        path: "Tests/\(name)",
        swiftSettings: [
            .swiftLanguageMode(.v6), .enableExperimentalFeature("Lifetimes"),
            .enableUpcomingFeature("ExistentialAny"),
        ]
    )
}

let package = Package(
    name: "martlet",
    targets: [
        // C
        .target(name: "CLinux"),
        .target(name: "CLMDB", linkerSettings: [.linkedLibrary("lmdb")]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CPAM", pkgConfig: "pam", providers: [.apt(["libpam0g-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),

        // Base
        layer("Bytes", on: []),
        layer("Posix", on: ["Bytes", "CLinux"]),

        // Processes
        layer("Configuration", on: ["Bytes", "Posix"]),
        layer("Privsep", on: ["Bytes", "Posix", "CLinux"]),

        // Formats
        layer("IMAPWire", on: ["Bytes"]),
        layer("InternetMessage", on: ["Bytes"]),
        layer("Maildir", on: ["Bytes", "Posix"]),

        // Store
        layer("MessageIndex", on: ["Bytes", "Posix", "CLMDB"]),
        layer(
            "MailStore",
            on: ["Bytes", "Posix", "Maildir", "InternetMessage", "MessageIndex", "CZlib"]
        ),

        // Engines
        layer(
            "IMAPSession",
            on: ["Bytes", "Posix", "IMAPWire", "InternetMessage", "MailStore", "CZlib"]
        ),
        layer("IMAPLogin", on: ["Bytes", "Posix", "Privsep"]),
        layer("TLS", on: ["Bytes", "Posix", "Privsep", "COpenSSL"]),
        layer("PAM", on: ["Bytes", "Posix", "Privsep", "CPAM", "CLinux"]),

        // Executables
        process("martletd", on: ["Bytes", "Posix", "CLinux", "Configuration", "Privsep"]),
        process("martlet-tls", on: ["Bytes", "Posix", "Privsep", "TLS"]),
        process("martlet-login", on: ["Bytes", "Posix", "Privsep", "IMAPLogin"]),
        process("martlet-auth", on: ["Bytes", "Posix", "Privsep", "PAM"]),
        process(
            "martlet-user",
            on: ["Bytes", "Posix", "Privsep", "MessageIndex", "MailStore", "IMAPSession"]
        ),

        // Benchmarks
        .executableTarget(
            name: "martlet-bench",
            dependencies: ["COpenSSL"],
            path: "Tests/Benchmarks/martlet-bench",
            swiftSettings: [.swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny")]
        ),

        // Tests
        tests("BytesTests", on: ["Bytes"]),
        tests("PosixTests", on: ["Bytes", "Posix"]),
        tests("ConfigurationTests", on: ["Bytes", "Posix", "Configuration"]),
        tests("PrivsepTests", on: ["Bytes", "Posix", "Privsep", "PAM", "TLS"]),
        tests("IMAPWireTests", on: ["Bytes", "IMAPWire"]),
        tests("InternetMessageTests", on: ["Bytes", "InternetMessage"]),
        tests("MaildirTests", on: ["Bytes", "Posix", "Maildir"]),
        tests("MessageIndexTests", on: ["Bytes", "Posix", "MessageIndex"]),
        tests(
            "MailStoreTests",
            on: ["Bytes", "Posix", "Maildir", "MessageIndex", "MailStore", "CZlib"]
        ),
        tests(
            "IMAPSessionTests",
            on: [
                "Bytes", "Posix", "IMAPWire", "InternetMessage", "Maildir", "MessageIndex",
                "MailStore", "IMAPSession",
            ]
        ),
        tests("IMAPLoginTests", on: ["Bytes", "Posix", "IMAPLogin", "Privsep"]),
    ]
)
