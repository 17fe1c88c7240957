# shellcheck shell=bash disable=SC2034 # setup.sh reads what is set here
# The sets of deploy/setup.sh: Debian's packages, and locks of Python's packages as FOLDER:LOCK.
# Sourced by it from the top of the repository.

readonly PIP=(python3 python3-pip-whl) # pip in one file: python3-venv is three packages more
readonly SDCARD=(python3 bmap-tools zstd xz-utils gzip util-linux e2fsprogs openssh-client)
packages=() # Debian's
locks=()    # in the order of their installation
python_min=3,11

# need SET: add its packages and locks.
need() {
  case $1 in
    python) # what the daemon imports
      packages+=("${PIP[@]}" python3-systemd)
      lock .venv:run
      ;;
    run) # `make run`, `make load`
      need python
      packages+=(mosquitto mosquitto-clients)
      ;;
    cluster) # RabbitMQ nodes in namespaces: `make load BROKER=cluster`
      packages+=(mmdebstrap iproute2 util-linux openssl)
      ;;
    web) # what `edge web` imports
      need python
      lock .venv:web
      ;;
    dev) # the development tools
      need python
      lock .venv:dev
      ;;
    lint) # `make lint`
      need dev
      packages+=(shellcheck)
      ;;
    browser) # a browser: `make screenshots`
      need dev
      need run
      need web
      packages+=(chromium fonts-dejavu-core)
      ;;
    fleet) # the consumer and the exporter of a fleet
      packages+=("${PIP[@]}" python3-systemd libpq5) # psycopg loads the last one
      lock .venv-fleet:fleet
      ;;
    store) # `make test-fleet`
      need test
      packages+=(postgresql prometheus) # beside what they store, 200 MB
      ;;
    test) # `make test`
      need lint
      need browser
      need fleet
      packages+=(
        gcc libc6-dev linux-libc-dev                     # faults to load, layouts to compare
        nodejs node-mqtt                                 # a subscriber in another language
        openssl man-db tzdata python3-shtab              # certificates, manual, time zones, completion
        mtools dosfstools e2fsprogs fdisk "${SDCARD[@]}" # small images of SD cards
        python3-gi gir1.2-gst-rtsp-server-1.0            # a server of RTSP streams,
        gstreamer1.0-plugins-{base,good,bad,ugly}        # with H.264
      )
      ;;
    train) # `make model`, `make onnx`, and their tests
      packages+=("${PIP[@]}" libegl1 libgles2) # mediapipe links the last two
      lock .venv-train:train
      ;;
    machine) # the virtual machine of `make test-cameras`
      packages+=(qemu-system-x86 busybox-static kmod mmdebstrap e2fsprogs)
      ;;
    flash) # `make flash`, `make deploy`, `make rollout`
      packages+=("${SDCARD[@]}")
      ;;
    runtime) # compiles the Pi's TFLite, emulates it for its tests
      packages+=(cmake ninja-build patch bzip2 xz-utils binutils g++-aarch64-linux-gnu qemu-user)
      ;;
    opencv) # compiles the package's OpenCV and FFmpeg: `make opencv`
      packages+=(cmake ninja-build make nasm patch bzip2 xz-utils binutils g++ g++-aarch64-linux-gnu
        python3 python3-pip                                       # fetches what Debian's mirror lacks
        libjpeg62-turbo libwebp7 libwebpmux3 libwebpdemux2) # bound by the one for this machine
      ;;
    measure) # counts the instructions of the Pi's TFLite
      packages+=(qemu-user llvm gcc libc6-dev)
      ;;
    peers) # `make bench-peers`
      packages+=("${PIP[@]}" mosquitto ffmpeg
        libjpeg62-turbo libwebp7 libwebpmux3 libwebpdemux2) # bound by our OpenCV
      lock build/peers:peers
      ;;
    image) # makes and boots images of SD cards
      packages+=(
        mmdebstrap qemu-user-static binfmt-support uidmap mtools dosfstools e2fsprogs fdisk
        zstd bmap-tools dpkg-dev qemu-system-arm openssh-client device-tree-compiler
      )
      ;;
    credentials) # `make credentials`
      need python
      packages+=(openssl)
      ;;
    homeassistant) # `make homeassistant`
      packages+=("${PIP[@]}" python3-dev gcc libffi-dev)
      lock .venv-homeassistant:homeassistant
      python_min=3,13,2
      ;;
    system) # the machines of `make test-system`
      packages+=(systemd-container mmdebstrap e2fsprogs kmod mount
        slirp4netns qemu-system-arm qemu-user-static openssl) # a network; arm64, emulated; certificates
      ;;
    package) # the Debian package for every architecture: `make deb`
      packages+=(
        dpkg-dev debhelper dh-python lintian binutils python3 python3-pip python3-shtab
        binutils-{x86-64,aarch64}-linux-gnu binutils-arm-linux-gnueabihf
        gcc-arm-linux-gnueabihf # msgspec for 32 bits is compiled here
      )
      ;;
    install) # the same for this machine only: `make install`
      packages+=(dpkg-dev debhelper dh-python binutils python3 python3-pip python3-shtab)
      # PyPI has no msgspec for 32 bits: it is compiled here.
      [ "$(dpkg --print-architecture)" != armhf ] || packages+=(gcc)
      ;;
    *)
      fail 64 "unknown set '$1'; expected one of $(known)"
      ;;
  esac
}

# known: print the names of the sets.
known() { sed -n 's/^    \([a-z]*\)) # .*/\1/p' deploy/sets.sh | paste -sd ' '; }

lock() { [[ " ${locks[*]} " = *" $1 "* ]] || locks+=("$1"); }
