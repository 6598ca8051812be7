# Homebrew formula. `url` and `sha256` are those of the released source archive.
class Syncd < Formula
  desc "Keeps folders identical between machines, peer to peer and encrypted"
  homepage "https://github.com/syncd/syncd"
  url "https://github.com/syncd/syncd/archive/refs/tags/v0.1.0.tar.gz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license any_of: ["MIT", "Apache-2.0"]
  head "https://github.com/syncd/syncd.git", branch: "main"

  depends_on "rust" => :build

  def install
    system "cargo", "install", *std_cargo_args(path: "daemon")
    system "cargo", "install", *std_cargo_args(path: "cli")
    generate_completions_from_executable(bin/"syncctl", "completions")
    system bin/"syncctl", "man", buildpath/"man"
    man1.install Dir["man/*.1"]
  end

  service do
    run [opt_bin/"syncd"]
    keep_alive crashed: true
    log_path var/"log/syncd.log"
    error_log_path var/"log/syncd.log"
    environment_variables PATH: std_service_path_env
  end

  test do
    home = testpath/"home"
    device_id = shell_output("#{bin}/syncctl --home #{home} init --name test").strip
    assert_equal device_id, shell_output("#{bin}/syncctl --home #{home} id").strip
    assert_equal "test", shell_output("#{bin}/syncctl --home #{home} config get name").strip
  end
end
