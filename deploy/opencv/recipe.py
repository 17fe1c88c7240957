"""The commands that compile FFmpeg, OpenCV and the plugin between them.

Chosen: what cameras and films need, and nothing else. A decoder that is not compiled has no flaws.
Knows neither network nor archives; runs nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.runtime.pins import ARCHES, TRIPLES

HERE: Final = Path(__file__).resolve().parent
MODULE: Final = "cv2.abi3.so"
PLUGIN: Final = "libopencv_videoio_ffmpeg.so"
"""Found by OpenCV in the folder of the module."""
CPU: Final = {
    "arm64": "-march=armv8-a+crc -mtune=cortex-a72",
    # Not armv8-a, as the runtime: GCC 12 refuses carotene's own NEON options beside it.
    # 64-bit offsets: without, a folder on a large disk cannot be listed, and no plugin is found.
    "armhf": "-march=armv7-a -mtune=cortex-a72 -mfpu=neon-vfpv4 -mfloat-abi=hard"
    " -D_FILE_OFFSET_BITS=64",
    "amd64": "-march=x86-64-v2",
}
SIMD: Final = {
    "arm64": ("-DCPU_BASELINE=NEON", "-DCPU_DISPATCH="),
    "armhf": ("-DCPU_BASELINE=NEON", "-DCPU_DISPATCH=", "-DENABLE_NEON=ON", "-DENABLE_VFPV3=OFF"),
    "amd64": ("-DCPU_BASELINE=SSE4_2", "-DCPU_DISPATCH=AVX2"),
}
LINK: Final = (
    "-Wl,--gc-sections -Wl,--as-needed -Wl,-O1 -Wl,-Bsymbolic -Wl,-z,relro -Wl,-z,now"
    " -Wl,-z,noexecstack -Wl,--build-id=sha1"
)
FFMPEG: Final = {
    "decoder": "h264 hevc vp8 vp9 mpeg1video mpeg2video mpeg4 msmpeg4v3 h263 h263p flv mjpeg theora"
    " rawvideo gif png",
    "demuxer": "rtsp rtp sdp hls mov matroska avi mpegts mpegps mpegvideo h264 hevc ivf m4v h263"
    " mjpeg mpjpeg flv ogg gif apng yuv4mpegpipe image_jpeg_pipe image_png_pipe",
    "parser": "h264 hevc vp8 vp9 mpegvideo mpeg4video h263 mjpeg dvd_nav gif png vorbis"
    " opus aac ac3 mpegaudio flac",
    "protocol": "file tcp udp rtp http https tls httpproxy crypto",
    "bsf": "null extract_extradata h264_mp4toannexb hevc_mp4toannexb mpeg4_unpack_bframes"
    " vp9_superframe_split",
}
"""Parts of FFmpeg, by kind. Parsers of sound: a film is probed with all its streams."""
OFF: Final = (
    "IPP ITT LAPACK EIGEN OPENCL TBB OPENMP PROTOBUF FLATBUFFERS QUIRC ADE GTK QT GSTREAMER 1394"
    " OBSENSOR OPENEXR OPENJPEG JASPER AVIF JPEGXL GDAL SPNG V4L KLEIDICV FFMPEG VTK ZLIB_NG"
    " IMGCODEC_HDR IMGCODEC_SUNRASTER IMGCODEC_PFM IMGCODEC_GIF"
)
ARCHIVES: Final = ("avformat", "avcodec", "swscale", "avutil")


@dataclass(frozen=True, slots=True)
class Folders:
    """Folders of one build.

    sources   one folder for each source
    root      headers and libraries of the target
    work      of the compilers
    """

    sources: Path
    root: Path
    work: Path

    @property
    def opencv(self) -> Path:
        """OpenCV's own tree, inside PyPI's archive."""
        return self.sources / "opencv" / "opencv"


def libraries(arch: str, folders: Folders) -> Path:
    """Return the folder with the target's libraries."""
    return folders.root / "usr" / "lib" / TRIPLES[arch]


def _include(arch: str, folders: Folders) -> str:
    """Return the target's headers; as -isystem, since OpenCV drops -I of folders called so."""
    top = folders.root / "usr" / "include"
    return f"-isystem {top} -isystem {top / TRIPLES[arch]}"


def _plain(arch: str, folders: Folders) -> str:
    """Return the compiler's flags, as those of deploy/runtime/toolchain."""
    return (
        f"{CPU[arch]} {_include(arch, folders)} -ffunction-sections -fdata-sections -fno-math-errno"
        f" -ffile-prefix-map={folders.sources}=/src -ffile-prefix-map={folders.root}=/root"
        f" -ffile-prefix-map={folders.work}=/work -ffile-prefix-map={HERE}=/recipe"
        " -D_FORTIFY_SOURCE=2 -fstack-clash-protection"
    )


def ffmpeg(arch: str, folders: Folders, jobs: int) -> list[list[str]]:
    """Return the commands that compile FFmpeg in work/ffmpeg and install it in work/libav."""
    triple = TRIPLES[arch]
    chosen = [f"--enable-{kind}={name}" for kind, names in FFMPEG.items() for name in names.split()]
    configure = [
        str(folders.sources / "ffmpeg" / "configure"),
        *(f"--prefix={folders.work / 'libav'}", "--enable-cross-compile", "--target-os=linux"),
        *(f"--arch={ARCHES[arch]}", f"--cross-prefix={triple}-", "--pkg-config=false"),
        f"--extra-cflags={_plain(arch, folders)}",
        f"--extra-ldflags=-L{libraries(arch, folders)}",
        *("--disable-everything", "--disable-autodetect", "--disable-programs", "--disable-doc"),
        *("--disable-avdevice", "--disable-avfilter", "--disable-swresample", "--disable-postproc"),
        *("--disable-debug", "--enable-network"),
        *("--enable-static", "--disable-shared", "--enable-pic", "--enable-swscale"),
        *("--enable-pthreads", "--enable-zlib", "--enable-openssl", "--enable-version3"),
        *chosen,
    ]
    return [
        configure,
        _nameless(folders, [folders.work / "ffmpeg" / "config.h"]),
        ["make", f"-j{jobs}"],
        ["make", "install-libs", "install-headers"],
    ]


def opencv(arch: str, folders: Folders, jobs: int) -> list[list[str]]:
    """Return the commands that compile OpenCV in work/objects."""
    objects = folders.work / "objects"
    root, folder = folders.root, libraries(arch, folders)
    headers = root / "usr" / "include"
    exported = f"-Wl,--version-script={HERE / 'exports.map'}"
    configure = [
        *("cmake", "--fresh", "-G", "Ninja"),  # an option that is no longer set must not stay
        *("-S", str(folders.opencv), "-B", str(objects)),
        f"-DCMAKE_TOOLCHAIN_FILE={HERE / 'toolchain.cmake'}",
        f"-DRUNTIME_PROCESSOR={ARCHES[arch]}",
        f"-DRUNTIME_TRIPLE={TRIPLES[arch]}",
        f"-DRUNTIME_CPU={CPU[arch]} {_include(arch, folders)}",
        f"-DRUNTIME_SOURCES={folders.sources}",
        f"-DRUNTIME_ROOT={root}",
        f"-DCMAKE_MODULE_LINKER_FLAGS={LINK} {exported} -L{folder}",
        *("-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_SKIP_RPATH=ON", "-DENABLE_PIC=ON"),
        *("-DBUILD_SHARED_LIBS=OFF", "-DBUILD_LIST=core,imgproc,imgcodecs,videoio,python3"),
        *SIMD[arch],
        *(f"-DWITH_{name}=OFF" for name in OFF.split()),
        *(f"-DBUILD_{name}=OFF" for name in ("TESTS", "PERF_TESTS", "DOCS", "JAVA", "EXAMPLES")),
        *(
            "-DBUILD_opencv_apps=OFF",
            "-DBUILD_opencv_python2=OFF",
            "-DOPENCV_GENERATE_SETUPVARS=OFF",
        ),
        *(f"-DWITH_{name}=ON" for name in ("JPEG", "PNG", "WEBP", "TIFF")),
        "-DBUILD_TIFF=ON",  # OpenCV's own, linked in: Debian's binds eight more libraries
        *(f"-DBUILD_{name}=OFF" for name in ("JPEG", "PNG", "WEBP", "ZLIB")),
        f"-DZLIB_LIBRARY={folder / 'libz.so'}",
        f"-DZLIB_INCLUDE_DIR={headers}",
        f"-DJPEG_LIBRARY={folder / 'libjpeg.so'}",
        f"-DJPEG_INCLUDE_DIR={headers}",
        f"-DPNG_LIBRARY={folder / 'libpng.so'}",
        f"-DPNG_PNG_INCLUDE_DIR={headers}",
        f"-DWEBP_LIBRARY={folder / 'libwebp.so'}",
        f"-DWEBP_MUX_LIBRARY={folder / 'libwebpmux.so'}",
        f"-DWEBP_DEMUX_LIBRARY={folder / 'libwebpdemux.so'}",
        f"-DWEBP_INCLUDE_DIR={headers}",
        *("-DVIDEOIO_ENABLE_PLUGINS=ON", "-DVIDEOIO_PLUGIN_LIST="),
        *("-DPYTHON3_LIMITED_API=ON", "-DPYTHON3_CVPY_SUFFIX=.abi3.so"),
        *("-DOPENCV_SKIP_PYTHON_LOADER=ON", "-DOPENCV_PYTHON_INSTALL_PATH=python"),
        f"-DPYTHON3_EXECUTABLE={sys.executable}",
        f"-DPYTHON3_INCLUDE_PATH={headers / 'python3.11'}",
        f"-DPYTHON3_NUMPY_INCLUDE_DIRS={root / 'numpy'}",
        "-DPYTHON3_NUMPY_VERSION=2.2.4",
    ]
    generated = [
        objects / "modules" / "core" / "version_string.inc",
        objects / "opencv_data_config.hpp",
    ]
    compiled = ["ninja", "-C", str(objects), f"-j{jobs}", "opencv_python3"]
    return [configure, _nameless(folders, generated), compiled]


def _nameless(folders: Folders, generated: Sequence[Path]) -> list[str]:
    """Return the command that removes this machine's folders from texts that are compiled in."""
    changes = (f"s|{folder}|/build|g" for folder in (folders.work, folders.sources))
    return ["sed", "-i", *(f"--expression={change}" for change in changes), *map(str, generated)]


def plugin(arch: str, folders: Folders) -> list[list[str]]:
    """Return the commands that link FFmpeg and OpenCV's side of it into one plugin."""
    objects, triple = folders.work / "objects", TRIPLES[arch]
    modules = folders.opencv / "modules"
    includes = [
        *(modules / name / "include" for name in ("core", "imgproc", "imgcodecs", "videoio")),
        *(modules / "videoio" / "src", objects, folders.work / "libav" / "include"),
    ]
    archives = [
        *(str(objects / "lib" / f"libopencv_{name}.a") for name in ("imgproc", "core")),
        *_third_party(objects),
        *(str(folders.work / "libav" / "lib" / f"lib{name}.a") for name in ARCHIVES),
    ]
    flags = [*_plain(arch, folders).split(), "-O3", "-DNDEBUG", "-fPIC", "-fvisibility=hidden"]
    later = str(folders.work / "openssl_later.o")
    return [
        [f"{triple}-gcc", *flags, "-c", str(HERE / "openssl_later.c"), "-o", later],
        [
            *(f"{triple}-g++", *flags, "-std=c++11"),
            *("-DBUILD_PLUGIN", "-DHAVE_FFMPEG", "-D__OPENCV_BUILD=1"),
            *(f"-I{path}" for path in includes),
            *("-shared", *LINK.split(), f"-Wl,--version-script={HERE / 'plugin.map'}"),
            *(str(modules / "videoio" / "src" / "cap_ffmpeg.cpp"), str(HERE / "stream_reader.cpp")),
            *("-Wl,--start-group", *archives, later, "-Wl,--end-group", "-Wl,--no-undefined"),
            *(f"-L{libraries(arch, folders)}", "-lz", "-lm", "-lpthread", "-ldl"),
            *("-o", str(folders.work / PLUGIN)),
        ],
    ]


def _third_party(objects: Path) -> Sequence[str]:
    """Return the archives that OpenCV's own refer to: carotene on ARM."""
    return [str(path) for path in sorted((objects / "3rdparty" / "lib").glob("*.a"))]


def strip(arch: str, folders: Folders, built: Path) -> list[list[str]]:
    """Return the commands that write both objects into ``built``, without debugging symbols."""
    program = f"{TRIPLES[arch]}-strip"
    module = next((folders.work / "objects").rglob(MODULE), folders.work / "objects" / MODULE)
    pairs = ((module, built / MODULE), (folders.work / PLUGIN, built / PLUGIN))
    return [[program, "--strip-unneeded", "-o", str(to), str(of)] for of, to in pairs]
