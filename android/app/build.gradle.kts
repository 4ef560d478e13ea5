plugins { id("com.android.application") }

android {
    namespace = "rbe.edge.app"
    compileSdk = 35

    defaultConfig {
        applicationId = "rbe.edge.app"
        minSdk = 26
        targetSdk = 35
        versionCode = 1
        versionName = "0.1.0"
    }
    // demo.rbe, as it lies in the Python package.
    sourceSets["main"].assets.srcDir("../../rbe_edge/demo")
    sourceSets["test"].java.setSrcDirs(emptyList<String>()) // as in lib/
    buildTypes {
        release {
            isMinifyEnabled = true
            proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"))
        }
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }
}

dependencies { implementation(project(":lib")) }
